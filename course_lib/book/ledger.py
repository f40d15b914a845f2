"""The ledger: every claim that a chapter declares, and the record that its notebook holds of the verdict.

A chapter prints a claim's record, one line of JSON, in a cell tagged `nbval-check-output`; so it lies in the
committed notebook, and the ledger is read without running anything.
"""

import ast
import contextlib
import difflib
import json
from dataclasses import dataclass

from course_lib.book.dependencies import parse_cell
from course_lib.book.execution import current_runs
from course_lib.book.pages import BookError, Page, tags
from course_lib.book.pairing import read_pair

__all__ = ["Entry", "changes", "declared", "entries", "find", "page_problems", "records", "repeated"]

START = '{"claim": '


@dataclass(frozen=True)
class Entry:
    """A claim: the page that declares it, and its record; None where the notebook has none."""

    id: str
    page: Page
    record: dict | None


def declared(page):
    """[(index of the cell, id)] of the claims that a page's code declares; the id is None unless written out."""
    found = []
    for index, cell in enumerate(page.notebook.cells):
        if cell.cell_type == "code":
            try:
                tree = parse_cell(cell.source)
            except SyntaxError:
                continue  # `cells` reports it
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
            found += [(index, _identifier(call)) for call in calls if _name(call.func) == "Claim"]
    return found


def _name(function):
    return getattr(function, "attr", getattr(function, "id", None))


def _identifier(call):
    given = [keyword.value for keyword in call.keywords if keyword.arg == "id"] or call.args[:1]
    value = getattr(given[0], "value", None) if given else None
    return value if isinstance(value, str) else None


def records(page, notebook):
    """[(index of the cell, record)] of the claims whose records the cells of a page's notebook print.

    Raises: BookError for a record that cannot be read.
    """
    found = []
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            for line in output.get("text", "").splitlines():
                if line.startswith(START):
                    found.append((index, _parse(page, line)))
    return found


def _parse(page, line):
    try:
        record = json.loads(line)
        record["claim"], record["verdict"], record["hash"], record["declaration"], record["comparisons"]
    except (json.JSONDecodeError, KeyError) as error:
        raise BookError(
            f"{page.file}: a claim's record is damaged: {line[:60]}… → course book sync --refresh {page.name}"
        ) from error
    return record


def entries(pages):
    """All claims of `pages` in the book's order, from the notebooks as they lie on disk. Nothing is run."""
    found = []
    for page in pages:
        if page.is_notebook:
            recorded = _by_id(records(page, read_pair(page))) if page.pair.exists() else {}
            ids = [name for _, name in declared(page) if name]
            found += [Entry(name, page, recorded.get(name)) for name in dict.fromkeys([*ids, *recorded])]
    return found


def _by_id(recorded):
    return {record["claim"]: record for _, record in recorded}


def find(known, names):
    """Those of the entries `known` that `names` name; all of them when there are no names.

    Raises: BookError for an unknown id, with the nearest one.
    """
    ids = [entry.id for entry in known]
    for name in names:
        if name not in ids:
            near = difflib.get_close_matches(name, ids, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(ids)) or 'none'}"
            raise BookError(f"no claim is called {name!r} → {hint}")
    return [entry for entry in known if not names or entry.id in names]


def changes(chosen):
    """Run the chapters of the entries `chosen`, where their last run is not current, and compare the records.

    Returns ([entry with its new record], [what differs from the committed record]).
    Raises: BookError if a chapter does not run.
    """
    pages = list(dict.fromkeys(entry.page for entry in chosen))
    runs = {page: _by_id(records(page, notebook)) for page, notebook in current_runs(pages).items()} if pages else {}
    fresh = [Entry(entry.id, entry.page, runs[entry.page].get(entry.id)) for entry in chosen]
    return fresh, [line for old, new in zip(chosen, fresh, strict=True) for line in _difference(old, new)]


def _difference(old, new):
    name, page = old.id, old.page
    take = f"look why, then: course book sync --refresh {page.name}"
    if new.record is None:
        yield f"{name}: {page.file} declares it and prints no record → print(….record)"
    elif old.record is None:
        yield f"{name}: the notebook has no record of it → course book sync {page.name}"
    elif old.record["verdict"] != new.record["verdict"]:
        yield f"{name}: the verdict was {old.record['verdict']} and is {new.record['verdict']} → {take}"
    elif old.record["hash"] != new.record["hash"]:
        yield f"{name}: the record is of another declaration than the source's → {take}"


# --- rules ------------------------------------------------------------------------------------------


def page_problems(page):
    """Yields (file, index of the cell or None, what is wrong, remedy) for the claims of one page with a pair."""
    from course_lib.claims import fingerprint

    source, pair = page.file, page.pair.relative_to(page.root).as_posix()
    calls, notebook = declared(page), read_pair(page)
    names = [name for _, name in calls]
    found = records(page, notebook)
    for index, name in calls:
        count = sum(record["claim"] == name for _, record in found)
        if name is None:
            yield source, index, "a claim whose id is not written out", 'write Claim(id="…", …), a text and no variable'
        elif names.count(name) > 1:
            yield source, index, f"claim {name} is declared {names.count(name)} times", "declare it once"
        elif count != 1:
            remedy = "print(….record) once, in a cell tagged nbval-check-output and remove-cell"
            yield source, index, f"claim {name} has {count} records", remedy
    for index, record in found:
        name = record["claim"]
        if name not in names:
            yield pair, index, f"a record of {name}, which no cell declares", "declare it, or do not print it"
        if record["hash"] != fingerprint(record["declaration"]):
            yield pair, index, f"the record of {name} was edited", f"course book sync --refresh {page.name}"
        if not {"remove-cell", "remove-output"} & set(tags(notebook.cells[index])):
            yield pair, index, f"the record of {name} is shown on the page", "add the tag remove-cell"


def repeated(pages):
    """Yields (page, index of the cell, id, first page) for each id that an earlier page declares too."""
    first = {}
    for page in filter(lambda page: page.is_notebook, pages):
        found = []
        with contextlib.suppress(BookError):  # a page that cannot be read is reported by itself
            found = declared(page)
        for index, name in found:
            if name and first.setdefault(name, page) != page:
                yield page, index, name, first[name]
