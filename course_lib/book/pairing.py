"""From a page's Markdown to its notebook, one way: the .md is the source, the .ipynb is generated.

A notebook keeps the text outputs of cells tagged `nbval-check-output` and nothing else: the differences
stay small, and nbval has something to compare a fresh run with.
"""

import hashlib
import warnings
from collections import Counter

from course_lib.book.pages import BookError, tags, write_text

__all__ = ["CHECK_TAG", "TEXT", "cell_ids", "read_pair", "source_notebook", "sync"]

CHECK_TAG = "nbval-check-output"
TEXT = "text/plain"
# nbval skips pictures when it compares; any other kind beside the text would make the comparison fail.
NOT_COMPARED = {"image/png", "image/jpeg"}


def cell_ids(cells):
    """One id a cell from its type and source, so that editing one cell changes one id.

    Equal cells are told apart by a counter, in their order. An answer to homework is q1, q2 … whatever is in it.
    """
    seen, ids = Counter(), []
    for cell in cells:
        if "answer" in tags(cell):
            ids.append(next(tag for tag in tags(cell) if tag != "answer"))
            continue
        content = (cell.cell_type, cell.source)
        ids.append(hashlib.sha256(repr((*content, seen[content])).encode()).hexdigest()[:12])
        seen[content] += 1
    return ids


def source_notebook(page):
    """The notebook that the page's Markdown describes, without outputs, with stable ids."""
    import jupytext
    import nbformat

    try:
        notebook = jupytext.reads(page.text, fmt="md:myst")
    except Exception as error:  # jupytext raises its own kinds for options that are not YAML or JSON
        raise BookError(f"{page.file}: {error} → correct that cell") from error
    built = [cell.source for cell in page.notebook.cells if cell.cell_type == "code"]
    if built != [cell.source for cell in notebook.cells if cell.cell_type == "code"]:
        raise BookError(
            f"{page.file}: the book and Jupyter see different code cells → put every code cell at the top "
            "level of the page, outside directives and lists"
        )
    for cell, name in zip(notebook.cells, cell_ids(notebook.cells), strict=True):
        cell["id"] = name
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    header = notebook.metadata.setdefault("jupytext", nbformat.NotebookNode())
    header.setdefault("formats", "md:myst,ipynb")
    notebook.metadata["language_info"] = nbformat.NotebookNode(name="python")
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def read_pair(page):
    """The page's notebook as it lies on disk.

    Raises: BookError if it cannot be read.
    """
    import nbformat

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing or double ids: `check` reports them itself
            return nbformat.reads(page.pair.read_text(encoding="utf-8"), as_version=4)
    except Exception as error:  # nbformat raises many kinds for broken JSON and broken notebooks
        name = page.pair.relative_to(page.root).as_posix()
        raise BookError(f"{name}: not a notebook ({error}) → course book sync {page.name}") from error


def sync(pages, runs, refresh=False):
    """Write the notebooks of `pages`; returns the pages whose notebook changed.

    `runs(pages)` gives {page: executed notebook} and is called once, for the pages that need outputs: a
    tagged cell that is new or changed, or, with `refresh`, any tagged cell.
    Raises: BookError for a tagged cell whose output nbval could not compare; then nothing is written.
    """
    plans, needed = {}, []
    for page in pages:
        if page.is_notebook:
            notebook = source_notebook(page)
            old = {} if refresh or not page.pair.exists() else _stored_outputs(page)
            plans[page] = notebook, old
            if any(_checked(cell) and cell["id"] not in old for cell in notebook.cells):
                needed.append(page)
    executed = runs(needed) if needed else {}
    texts = {page: _render(page, *plan, executed.get(page)) for page, plan in plans.items()}
    return [page for page, text in texts.items() if write_text(page.pair, text)]


def _checked(cell):
    return cell.cell_type == "code" and CHECK_TAG in tags(cell)


def _stored_outputs(page):
    try:
        cells = read_pair(page).cells
    except BookError:
        return {}  # a broken notebook has nothing worth keeping
    # The id comes from the source that lies there, not from the id that lies there: that may be edited.
    found = zip(cell_ids(cells), cells, strict=True)
    return {name: cell.outputs for name, cell in found if _checked(cell) and cell.outputs}


def _render(page, notebook, old, executed):
    import nbformat

    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    fresh = {}
    if executed is not None:
        ran = [cell for cell in executed.cells if cell.cell_type == "code"]
        fresh = {cell["id"]: done.outputs for cell, done in zip(code, ran, strict=True)}
    for count, cell in enumerate(filter(_checked, code), 1):
        cell.execution_count = count
        if cell["id"] in old:
            outputs = old[cell["id"]]
        else:
            outputs = _text_outputs(page, notebook.cells.index(cell), fresh[cell["id"]])
        cell.outputs = [_numbered(output, count) for output in outputs]
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def _text_outputs(page, index, outputs):
    import nbformat

    kept = []
    for output in outputs:
        if output.output_type == "stream":
            if kept and kept[-1].get("name") == output.name:  # the kernel cuts where it happens to flush
                kept[-1].text += output.text
                continue
            kept.append(nbformat.v4.new_output("stream", name=output.name, text=output.text))
            continue
        other = set(output.get("data", {})) - {TEXT} - NOT_COMPARED
        if other or TEXT not in output.get("data", {}):
            kinds = ", ".join(sorted(other)) or output.output_type
            raise BookError(
                f"{page.file}:{page.line(index)}: cell {index + 1}: tagged {CHECK_TAG}, but its output is more "
                f"than text ({kinds}) → print() the value, or take the tag off"
            )
        data = {TEXT: output.data[TEXT]}
        kept.append(nbformat.v4.new_output(output.output_type, data=data))
    return kept


def _numbered(output, count):
    if output.output_type == "execute_result":
        output["execution_count"] = count
    return output
