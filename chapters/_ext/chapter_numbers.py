"""Number a chapter by its file: 05_gradient_flow is Chapter 5, with Section 5.1, Fig. 5.1, Exercise 5.1.

Sphinx counts the files it finds, and would call it Chapter 3 while Chapters 2 and 4 are not written.
"""

import re

from docutils import nodes
from sphinx.environment.collectors.toctree import TocTreeCollector

CHAPTER = re.compile(r"(?:^|/)(\d\d)_[^/]*$")


def number_sections(toc, number, numbers):
    """Write the numbers of a page's sections into its table of contents, and into `numbers` by anchor."""
    items = [item for item in toc.children if isinstance(item, nodes.list_item)]
    for i, item in enumerate(items, start=1):
        own = number if toc.parent is None else (*number, i)
        reference = item[0][0]
        reference["secnumber"] = numbers[reference["anchorname"]] = own
        for below in item.children[1:]:
            number_sections(below, own, numbers)


def by_file_name(assign):
    """Wrap Sphinx's own counting."""

    def assign_section_numbers(self, env):
        old = dict(env.toc_secnumbers)
        changed = assign(self, env)
        for page, toc in env.tocs.items():
            if chapter := CHAPTER.search(page):
                number = (int(chapter[1]),)
                number_sections(toc, number, numbers := {})
                env.toc_secnumbers[page] = numbers
                env.titles[page]["secnumber"] = number
                if numbers != old.get(page):
                    changed.append(page)
        return changed

    return assign_section_numbers


def setup(app):
    """Register the extension with Sphinx."""
    TocTreeCollector.assign_section_numbers = by_file_name(TocTreeCollector.assign_section_numbers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
