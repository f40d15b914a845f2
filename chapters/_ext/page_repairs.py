"""Mend what Sphinx, its extensions and pandas write into a page and what breaks it for some readers.

Each pair below is a pattern in a page's body and what replaces it, with the reason beside it.
The browser tests run axe and watch for errors on every page: a pair that is no longer needed can go.
"""

import re

REPAIRS = [
    # pandas leaves the corner of a table as a header without text (axe: empty-table-header).
    (r"<th></th>", "<td></td>"),
    # docutils: a role that ARIA has deprecated, inside role="list" (axe: aria-deprecated-role).
    (r'(<div class="citation" [^>]*)role="doc-biblioentry"', r'\1role="listitem"'),
    # sphinx-exercise and sphinx-proof give every box of a page the same id; nothing links to it.
    (r'(<section[^>]*) id="(?:exercise|solution|proof)-content"', r"\1"),
    # Settings of Thebe, see below.
    (r'\s*<script type="text/x-thebe-config">.*?</script>\s*<script>kernelName = .*?</script>', ""),
]
REPAIRS = [(re.compile(pattern, re.DOTALL), replacement) for pattern, replacement in REPAIRS]


POINTS = re.compile(r'<svg[^>]* width="([\d.]+)pt" height="([\d.]+)pt"')


def repair(app, pagename, templatename, context, doctree):
    """Repair one page before it goes into the theme's template."""
    if "body" in context:
        for pattern, replacement in REPAIRS:
            context["body"] = pattern.sub(replacement, context["body"])
        context["body"] = with_sizes(context["body"], app)
    # Jupyter Book always loads Thebe, which runs code on other hosts. It is off in this book, its script
    # declares a constant twice, and that is an error on every page.
    for files in ("script_files", "css_files"):
        context[files] = [file for file in context[files] if not is_thebe(file)]
    if pagename != "search":  # its own template adds scripts that need the others at once
        context["script_files"] = [deferred(file) for file in context["script_files"]]


def deferred(file):
    """Let a script load beside the page. Not the options: others read them while they load."""
    if not file.filename or "documentation_options" in str(file.filename):
        return file
    return type(file)(file.filename, priority=file.priority, **{**file.attributes, "defer": "defer"})


def with_sizes(body, app):
    """Give each plot its width and height in pixels, so that the text below it does not jump when it arrives."""
    for source, name in app.builder.images.items():
        if name.endswith(".svg") and (size := POINTS.search((app.srcdir / source).read_text("utf-8")[:2000])):
            width, height = (round(float(points) * 4 / 3) for points in size.groups())
            body = re.sub(rf'(<img [^>]*src="[^"]*/{re.escape(name)}")', rf'\1 width="{width}" height="{height}"', body)
    return body


def is_thebe(file):
    """Tell whether a script or a style sheet of a page belongs to Thebe."""
    return "thebe" in f"{file.filename} {file.attributes.get('body')}"


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("html-page-context", repair, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
