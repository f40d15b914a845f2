"""Whose notebook is which, and what is in it: files from strangers, read with suspicion.

A roster is a CSV file with the columns student and name, and any others (email, canvas_id, moodle_id).
Submissions lie in one folder, in any of these forms:

    STUDENT/x.ipynb    STUDENT.ipynb    x_CANVASID_123_y.ipynb    x_MOODLEID_assignsubmission_file/y.ipynb
"""

import csv
import io
import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.book.pages import BookError
from course_lib.homework.source import written_blank

__all__ = ["MAX_BYTES", "Refused", "Student", "Submission", "locate", "parse", "read", "read_roster", "strays"]

MAX_BYTES = 10 << 20
MAX_CELLS = 1_000
MAX_SOURCE = 200_000  # characters of a cell
ID = re.compile(r"(?!\.)[A-Za-z0-9._@-]{1,64}")
CANVAS = re.compile(r"[^_]*(?:_LATE)?_(\d+)_\d+_.*\.ipynb", re.IGNORECASE)
MOODLE = re.compile(r".*_(\d+)_assignsubmission_file_?")
LOCKED = {"setup", "constants", "check", "remove-cell"}
MARKER = re.compile(r"# Question (\d+): answer here")


class Refused(Exception):
    """A submission that cannot be graded: a reason code, and a sentence for the student."""


@dataclass(frozen=True)
class Student:
    """A row of the roster."""

    id: str
    name: str
    columns: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Submission:
    """What a notebook holds: cells to run in their order as (name, source), written answers, and flags.

    A name is that of a question, or extra-1, extra-2 … for code cells that the student added.
    """

    cells: list[tuple[str, str]]
    written: dict[str, str]
    duplicates: set[str]
    flags: list[str]


def read_roster(path: Path) -> list[Student]:
    """The students of a CSV file, in its order.

    Raises: BookError for a missing column or file, an id that could not name a file, two ids that are the
    same or differ in case only.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        mark = max(",;\t", key=text.partition("\n")[0].count)  # as spreadsheets save it
        first, *rows = [*csv.reader(io.StringIO(text, newline=""), delimiter=mark)] or [[]]
    except FileNotFoundError:
        raise BookError(f"there is no roster {path} → a CSV file whose first row is student,name[,email,…]") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BookError(f"the roster {path} cannot be read: {error} → give a CSV file in UTF-8") from error
    columns = [name.strip().lower() for name in first]
    if columns.count("student") != 1:
        raise BookError(f"the roster {path} has the columns {columns} → its first row is student,name[,email,…]")
    students, seen = [], {}
    for number, values in enumerate(rows, 2):
        row = dict.fromkeys(columns, "") | {n: value.strip() for n, value in zip(columns, values, strict=False)}
        name = row["student"]
        if not any(row.values()):
            continue
        if not ID.fullmatch(name):
            raise BookError(
                f"the roster {path}, row {number}: the id {name!r} → 1 to 64 of A–Z a–z 0–9 . _ @ - and no dot first"
            )
        if name.lower() in seen:
            raise BookError(f"the roster {path}, row {number}: {name!r} and {seen[name.lower()]!r} → different ids")
        seen[name.lower()] = name
        students.append(Student(name, row.get("name", ""), row))
    if not students:
        raise BookError(f"the roster {path} names no student → a row each")
    return students


# --- the files --------------------------------------------------------------------------------------


def locate(folder: Path, student: Student, assignment: str) -> Path:
    """The one notebook of a student.   Raises: Refused (missing, not-a-file, several-files)."""
    found = []
    for entry in os.scandir(folder):
        if _owner(entry) not in _keys(student):
            continue
        if entry.is_symlink():
            raise Refused("not-a-file", "a link was handed in → hand in the notebook itself")
        if entry.is_dir():
            found += _notebooks(entry)
        elif entry.name.endswith(".ipynb"):
            found.append(Path(entry))
    if len(found) > 1:
        found = [path for path in found if path.name == f"{assignment}.ipynb"] or found
    if not found:
        raise Refused("missing", "no notebook was handed in")
    if len(found) > 1:
        raise Refused("several-files", f"{len(found)} notebooks were handed in → one, called {assignment}.ipynb")
    return found[0]


def _notebooks(folder):
    try:
        with os.scandir(folder) as entries:  # names with a dot first are macOS's, not a student's
            return [Path(file) for file in entries if file.name.endswith(".ipynb") and file.name[0] != "."]
    except OSError as error:
        raise Refused("unreadable", f"the folder cannot be read ({error.strerror})") from error


def strays(folder: Path, students: list[Student]) -> list[str]:
    """The names in a folder of submissions that belong to nobody in the roster."""
    known = set().union(*map(_keys, students))
    names = (entry.name for entry in os.scandir(folder) if _owner(entry) not in known)
    return sorted(name for name in names if not name.startswith("."))


def _keys(student):
    keys = {("student", student.id)}
    keys |= {(name, student.columns[name]) for name in ("canvas_id", "moodle_id") if student.columns.get(name)}
    return keys


def _owner(entry):
    """What tells whose entry it is: (column of the roster, value)."""
    name = entry.name
    if match := MOODLE.fullmatch(name):
        return "moodle_id", match[1]
    if match := CANVAS.fullmatch(name):
        return "canvas_id", match[1]
    return "student", name.removesuffix(".ipynb")


def read(path: Path) -> bytes:
    """The bytes of a regular file.   Raises: Refused (not-a-file, too-large, unreadable)."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        code = "unreadable" if isinstance(error, PermissionError) else "not-a-file"
        raise Refused(code, f"the notebook is no ordinary file ({error.strerror})") from error
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("not-a-file", "what was handed in is no ordinary file")
        if status.st_size > MAX_BYTES:
            raise Refused(
                "too-large", f"{status.st_size >> 20} MB, at most {MAX_BYTES >> 20} are read → clear the outputs"
            )
        with open(file, "rb", closefd=False) as stream:
            return stream.read(MAX_BYTES)
    except OSError as error:
        raise Refused("unreadable", f"the notebook cannot be read ({error.strerror})") from error
    finally:
        os.close(file)


# --- the notebook -----------------------------------------------------------------------------------


def parse(data: bytes, about: dict) -> Submission:
    """What a notebook holds of the assignment that `about` (of `referee.about`) describes.

    An answer cell is known by its id, else by its tags, else by its first line; a text also by its place.
    Raises: Refused (unreadable, kernel, wrong-assignment).
    """
    notebook = _json(data)
    metadata = notebook.get("metadata") if type(notebook.get("metadata")) is dict else {}
    _check_kernel(metadata)
    own = {cell[3]: cell for cell in about["cells"]}
    found, others, locked, titles, whereabouts = {}, [], {}, set(), _Whereabouts(about)
    for place, (kind, name, tags, text) in enumerate(_cells(notebook)):
        near = whereabouts.question(kind, name, text)
        claim = _claim(kind, name, tags, text, about) or (near and (3, near))
        if claim:
            level, question = claim
            found.setdefault(question, {}).setdefault(level, []).append((place, kind, text))
        elif name in own and own[name][1] != "answer":
            locked[name] = text
        elif kind == "code" and text.strip() and not LOCKED & set(tags) and _plain(text) not in whereabouts.places:
            others.append((place, text))
        if kind == "markdown" and text.startswith("# "):
            titles.add(text[2:].partition("\n")[0].strip())
    course = metadata.get("course")
    said = course.get("homework") if type(course) is dict else None
    other = type(said) is str and said != about["name"]
    if other or not found or (type(said) is not str and titles and about["title"] not in titles):
        said = said if other else "; ".join(sorted(titles)) or "no known homework"
        raise Refused("wrong-assignment", f"the notebook is of {said[:80]}, not of {about['name']}")
    cells, written, duplicates = [], {}, set()
    for question, levels in found.items():
        beside = "\n\n".join(text for _, _, text in levels.pop(3, []))
        best = levels.pop(min(levels)) if levels else []
        if len({text for _, _, text in best}) > 1:
            duplicates.add(question)
        elif about["questions"][question]["kind"] == "written":
            text = best[0][2] if best else ""
            written[question] = beside if _plain(text) in ("", _plain(written_blank(question))) else text
        else:
            cells.append((best[0][0], question, best[0][2]))
            rest = [(place, text) for level in levels.values() for place, _, text in level]
            others += [(place, text) for place, text in rest if not _is_copy(text, best[0][2])]
    cells += [(place, f"extra-{i}", text) for i, (place, text) in enumerate(sorted(others), 1)]
    flags = _flags(own, locked, whereabouts.seen)
    return Submission([(name, text) for _, name, text in sorted(cells)], written, duplicates, flags)


def _json(data):
    if data.count(b"{") + data.count(b"[") > 200_000 or data.count(b",") > 600_000:
        raise Refused("unreadable", "the notebook has too many parts → clear the outputs and hand it in again")
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Refused("unreadable", f"the file is no notebook ({type(error).__name__}) → save it again") from error
    if type(notebook) is not dict or type(notebook.get("cells")) is not list:
        raise Refused("unreadable", "the file has no cells as a notebook has → save it again from Jupyter or Colab")
    return notebook


def _cells(notebook):
    if len(notebook["cells"]) > MAX_CELLS:
        raise Refused("unreadable", f"{len(notebook['cells'])} cells, at most {MAX_CELLS} are read")
    for cell in notebook["cells"]:
        if type(cell) is not dict:
            raise Refused("unreadable", "a cell is no object")
        source = cell.get("source", "")
        if type(source) is list and all(type(line) is str for line in source):
            source = "".join(source)
        if type(source) is not str or len(source) > MAX_SOURCE:
            raise Refused("unreadable", f"a cell's source is no text of at most {MAX_SOURCE:,} characters")
        metadata = cell.get("metadata") if type(cell.get("metadata")) is dict else {}
        tags = metadata.get("tags") if type(metadata.get("tags")) is list else []
        kind, name = cell.get("cell_type"), cell.get("id")
        if kind in ("code", "markdown"):
            yield kind, name if type(name) is str else None, [tag for tag in tags if type(tag) is str], source


def _check_kernel(metadata):
    kernel, language = metadata.get("kernelspec"), metadata.get("language_info")
    named = kernel.get("language") if type(kernel) is dict else None
    named = named or (language.get("name") if type(language) is dict else None)
    if named is not None and (type(named) is not str or named.lower() != "python"):
        raise Refused("kernel", "the notebook is not one of Python → choose a Python kernel and save it again")


def _claim(kind, name, tags, text, about):
    """(how sure, question) where a cell is an answer: 0 by its id, 1 by its tags, 2 by its first line."""
    for question, entry in about["questions"].items():
        if kind != ("markdown" if entry["kind"] == "written" else "code"):
            continue
        if name == question:
            return 0, question
        if "answer" in tags and question in tags:
            return 1, question
        match = MARKER.match(text.lstrip()) if kind == "code" else None
        if match and match[1] == question[1:]:
            return 2, question
    return None


def _plain(text):
    return "".join(text.split())


def _is_copy(text, answer):
    """Whether a second cell for an answer is a copy of the first; else it is a part that was split off."""
    return bool(MARKER.match(text.lstrip()) and MARKER.match(answer.lstrip()))


class _Whereabouts:
    """Where in the assignment one is, in a notebook whose cells may have lost their ids, as Colab saves it."""

    def __init__(self, about):
        self.cells, self.at, self.seen = about["cells"], -1, set()
        self.ids = {cell[3]: i for i, cell in enumerate(self.cells)}
        self.places = {_plain(cell[4]): i for i, cell in enumerate(self.cells)}

    def question(self, kind, name, text):
        """The question that asks for a text here, for a text that is not the assignment's; else None."""
        plain = _plain(text)
        self.seen.add(plain)
        known = self.ids.get(name, self.places.get(plain))
        self.at = self.at if known is None else known
        if kind != "markdown" or known is not None or not plain:
            return None
        near = [cell for cell in self.cells[max(self.at, 0) : self.at + 2] if cell[:2] == ["markdown", "answer"]]
        return near[0][2] if near else None


def _flags(own, locked, seen):
    changed, missing = [], []
    for name, (_, role, _, _, source) in own.items():
        if role not in ("setup", "check"):
            continue
        if name in locked and _plain(source) not in seen:
            changed.append(name)
        if name not in locked and locked and _plain(source) not in seen:
            missing.append(name)
    told = {"changed": changed, "deleted": missing}
    return [f"locked cells {what}: {', '.join(names)}" for what, names in told.items() if names]
