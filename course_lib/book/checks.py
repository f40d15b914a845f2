"""The book's rules that a machine can see. Each rule is one small generator of problems.

Here: pairs, the shape of a page, and the table of contents. The rules for code are in `cells`, those for
sentences in `prose`, those for claims in `ledger`.
"""

import re
from dataclasses import dataclass

from course_lib.book import cells, ledger, prose
from course_lib.book.cells import SETUP_CELL
from course_lib.book.pages import BookError, find_pages, read_config, read_yaml, select, tags
from course_lib.book.pairing import CHECK_TAG, TEXT, read_pair, source_notebook

__all__ = ["Problem", "check"]

CHAPTER = re.compile(r"^\d\d_[^/]+$")
EXERCISES = (3, 5)
DIRECTIVE = re.compile(r"^\s*(?:`{3,}|:{3,})\{(exercise|solution)(?:-start)?\}[ \t]*(\S*)", re.MULTILINE)
LABEL = re.compile(r"^\s*:label:[ \t]*(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Problem:
    """What is wrong, where, and what to do about it."""

    file: str
    what: str
    remedy: str
    cell: int | None = None  # counted from 1 over all cells
    line: int | None = None  # of the Markdown source

    def __str__(self):
        line = f":{self.line}" if self.line else ""
        cell = f" cell {self.cell}:" if self.cell else ""
        return f"{self.file}{line}:{cell} {self.what} → {self.remedy}"


def check(root, names=()):
    """All problems of the chapters `names` (default: all of them, and of the book as a whole).

    Raises: BookError for an unknown chapter name.
    """
    pages = find_pages(root)
    problems = [] if names else [*_contents(root, pages), *_orphans(root, pages), *_repository(root)]
    problems += [] if names else _claimed_twice(pages)
    for page in select(pages, names):
        try:
            problems += page_problems(page)
        except BookError as error:
            problems.append(error)  # the page cannot be read further; the message names it
    return problems


def page_problems(page):
    """All problems of one page."""
    problems = [*_headings(page), *_exercises(page)]
    problems += [
        Problem(page.file, what, remedy, cell=_cell_at(page, line), line=line)
        for line, what, remedy in prose.problems(page.text, numbers=_shows_results(page))
    ]
    if page.is_notebook:
        problems += [
            Problem(page.file, what, remedy, cell=index + 1, line=page.line(index))
            for index, what, remedy in cells.problems(page.notebook.cells)
        ]
        problems += _pair(page)
    return problems


def _shows_results(page):
    return page.is_notebook and not page.name.startswith("homework/")  # there numbers belong to the task


def _cell_at(page, line):
    if not page.is_notebook:
        return None
    return sum(page.line(index) <= line for index in range(len(page.notebook.cells))) or None


# --- the pair ---------------------------------------------------------------------------------------


def _pair(page):
    file = page.pair.relative_to(page.root).as_posix()
    remedy = f"course book sync {page.name}"
    if not page.pair.exists():
        yield Problem(file, "the notebook is missing", remedy)
        return
    source, pair = source_notebook(page).cells, read_pair(page).cells
    for index, what in _differences(source, pair):
        yield Problem(
            file,
            what,
            f"{remedy} (what was edited in the notebook is lost: put it into {page.file} first)",
            None if index is None else index + 1,
        )
    for index, cell in enumerate(pair):
        for what, remedy_ in _outputs(cell, remedy):
            yield Problem(file, what, remedy_, index + 1)
    for where, index, what, remedy_ in ledger.page_problems(page):
        yield Problem(where, what, remedy_, index + 1, page.line(index) if where == page.file else None)


def _differences(source, pair):
    def content(cell):
        return cell.cell_type, cell.source

    if [content(cell) for cell in source] != [content(cell) for cell in pair]:
        if sorted(map(content, source)) == sorted(map(content, pair)):
            moved = [content(s) != content(p) for s, p in zip(source, pair, strict=True)].index(True)
            yield moved, "the cells are in another order than in the source"
            return
        if len(source) != len(pair):
            yield None, f"the notebook has {len(pair)} cells, its source {len(source)}"
            return
    for index, (s, p) in enumerate(zip(source, pair, strict=True)):
        if s.cell_type != p.cell_type:
            yield index, f"a {p.cell_type} cell, but {s.cell_type} in the source"
        elif s.source != p.source:
            yield index, "differs from the source"
        elif tags(s) != tags(p):
            yield index, f"tags {tags(p)}, but {tags(s)} in the source"
        elif s.metadata != p.metadata:
            yield index, "its options differ from the source"
        elif s["id"] != p.get("id"):
            yield index, "its id is not the one that follows from its source"


def _outputs(cell, sync):
    if cell.cell_type != "code":
        return
    if CHECK_TAG not in tags(cell):
        if cell.outputs or cell.execution_count is not None:
            yield f"an output in a cell without the tag {CHECK_TAG}", sync
        return
    if not cell.outputs:
        yield f"tagged {CHECK_TAG}, but it has no output", "print what is to be compared, or drop the tag"
    elif cell.execution_count is None:
        yield "its execution_count is null, so nbval would not compare it", sync
    kinds = {kind for output in cell.outputs for kind in output.get("data", {})} - {TEXT}
    if kinds or any(output.output_type == "error" for output in cell.outputs):
        yield f"an output that is not text ({', '.join(sorted(kinds)) or 'error'})", sync


def _orphans(root, pages):
    paired = {page.pair for page in pages if page.is_notebook}
    for path in sorted((root / "chapters").rglob("*.ipynb")):
        hidden = any(part.startswith((".", "_")) for part in path.relative_to(root).parts)
        if path not in paired and not hidden:
            source = path.with_suffix(".md").name
            file = path.relative_to(root).as_posix()
            yield Problem(file, f"no {source} with code cells belongs to it", "delete it, or write the source")


# --- the page ---------------------------------------------------------------------------------------


def _headings(page):
    from markdown_it import MarkdownIt
    from mdit_py_plugins.front_matter import front_matter_plugin

    tokens = MarkdownIt("commonmark").use(front_matter_plugin).parse(page.text)
    lines = [token.map[0] + 1 for token in tokens if token.type == "heading_open" and token.tag == "h1"]
    if not lines:
        yield Problem(page.file, "no title", "begin the text with one line `# Title`")
    for line in lines[1:]:
        yield Problem(page.file, "a second title", "make it `##`", cell=_cell_at(page, line), line=line)


def _exercises(page):
    found = list(DIRECTIVE.finditer(page.text))
    exercises = [match for match in found if match[1] == "exercise"]
    solved = {match[2] for match in found if match[1] == "solution"}
    low, high = EXERCISES
    if CHAPTER.match(page.name) and not low <= len(exercises) <= high:
        yield Problem(page.file, f"{len(exercises)} exercises", f"a chapter has {low} to {high}")
    for match in exercises:
        line = page.text.count("\n", 0, match.start()) + (1 if match[0][0] != "\n" else 2)
        options = re.match(r"(?:\s*:[\w-]+:.*\n)*", page.text[match.end() :].partition("\n")[2])
        label = LABEL.search(options[0])
        where = {"cell": _cell_at(page, line), "line": line}
        if label is None:
            yield Problem(page.file, "an exercise without a label", "add a line `:label: ex-…` below", **where)
        elif label[1] not in solved:
            remedy = f"add ```{{solution}} {label[1]}"
            yield Problem(page.file, f"exercise {label[1]} has no solution", remedy, **where)


# --- the book ---------------------------------------------------------------------------------------


def _contents(root, pages):
    listed = set(_entries(read_yaml(root / "_toc.yml")))
    sources = {page.file for page in pages}
    for entry in sorted(listed - sources):
        if f"{entry}.md" in sources:
            listed.add(f"{entry}.md")
            yield Problem("_toc.yml", f"{entry} has no ending", "add .md, or the notebook beside it is taken")
        elif not (root / entry).is_file():
            yield Problem("_toc.yml", f"{entry} does not exist", "correct the name, or write the page")
    for file in sorted(sources - listed):
        yield Problem("_toc.yml", f"{file} is not listed", "add it, or delete the page")


def _entries(node):
    if isinstance(node, list):
        for item in node:
            yield from _entries(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in {"file", "root"}:
                yield value
            else:
                yield from _entries(value)


def _claimed_twice(pages):
    for page, index, name, first in ledger.repeated(pages):
        what = f"claim {name} is declared in {first.file} too"
        yield Problem(page.file, what, "give it an id of its own", index + 1, page.line(index))


def _repository(root):
    url = read_config(root).get("repository", {}).get("url")
    if f'"git+{url}"' not in SETUP_CELL:
        remedy = "make them one: SETUP_CELL is in course_lib/book/cells.py"
        yield Problem("_config.yml", f"repository url {url} is not the one that SETUP_CELL installs", remedy)
