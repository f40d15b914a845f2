"""An assignment: one MyST notebook with statement, solutions, checks and grader cells, and what is made of it.

Tags tell the cells apart: `variant`, `setup`, `answer`, `check` and `grader`, the last three with the
question's id (`q3`). What carries no such tag is statement. Students get everything but the variant and grader
cells, with the solutions cut out and their own constants filled in.
"""

import ast
import hashlib
import json
import pprint
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from course_lib.book.cells import SETUP_CELL
from course_lib.book.pages import BookError, tags
from course_lib.homework import variants

__all__ = ["FOLDER", "Assignment", "Cell", "constants_cell", "find", "load", "names", "notebook", "parse"]
__all__ += ["written_blank"]

FOLDER = Path(__file__).parent / "assignments"
ROLES = ("variant", "setup", "answer", "check", "grader")
QUESTION = re.compile(r"q[1-9]\d?")
HEADING = re.compile(r"^## Question (\d+): (.+)$", re.MULTILINE)
NAME = re.compile(r"\{\{\s*(\w+)\s*\}\}")
REGION = re.compile(r"^([ \t]*)### BEGIN SOLUTION[ \t]*\n(.*?)^[ \t]*### END SOLUTION[ \t]*$", re.DOTALL | re.MULTILINE)
WIDTH = 88  # characters of a line of code, as in the chapters
UNANSWERED = "NotImplementedError"


@dataclass(frozen=True)
class Cell:
    """A cell: "markdown" or "code", its role ("" for statement), its question, its source and all its tags."""

    kind: str
    role: str
    question: str
    source: str
    id: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Assignment:
    """One assignment as its author wrote it."""

    name: str
    text: str
    cells: tuple[Cell, ...]

    @property
    def title(self) -> str:
        """The heading of the whole."""
        return re.search(r"^# (.+)$", self.text, re.MULTILINE)[1].strip()

    @property
    def digest(self) -> str:
        """A hash of the source: marks of one digest are comparable."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @cached_property
    def titles(self) -> dict[str, str]:
        """The title of each question, by id, in order."""
        return {f"q{number}": title.strip() for number, title in HEADING.findall(self.text)}

    def of(self, role: str, question: str | None = None) -> list[Cell]:
        """The cells of a role, of one question or of all."""
        return [cell for cell in self.cells if cell.role == role and question in (None, cell.question)]

    def constants_of(self, key: bytes, student: str) -> dict:
        """The constants that the variant cell draws for a student; {} without such a cell."""
        names, rng = {}, variants.generator(key, self.name, student, "variant")
        for cell in self.of("variant"):
            namespace = {}
            exec(compile(cell.source, f"<{self.name}: variant>", "exec"), namespace)
            names |= namespace["variant"](rng)
        for name, value in names.items():
            if not name.isupper() or not name.isidentifier() or ast.literal_eval(repr(value)) != value:
                raise BookError(
                    f"{self.name}: the variant cell draws {name} = {value!r} → an UPPERCASE name and a plain value"
                )
        return names

    def student_cells(self, constants: dict) -> list[Cell]:
        """The cells that a student with these constants gets, with the ids that the grader looks for."""
        cells, counts = [], {}
        for cell in self.cells:
            if cell.role == "grader":
                continue
            if cell.role == "variant":
                cell = replace(cell, role="setup", source=constants_cell(constants), tags=("constants", "hide-input"))
            if cell.kind == "markdown" and not cell.role:
                cell = replace(cell, source=self._filled(cell.source, constants))
            if cell.role == "answer" and cell.kind == "code":
                cell = replace(cell, source=_without_solution(cell))
            stem = f"{cell.question}-{cell.role}" if cell.role == "check" else cell.question or cell.role or "text"
            stem = "constants" if "constants" in cell.tags else stem
            counts[stem] = counts.get(stem, 0) + 1
            alone = cell.role in ("answer", "check") or stem == "constants"
            suffix = "" if alone and counts[stem] == 1 else f"-{counts[stem]}"
            cells.append(replace(cell, id=stem + suffix))
        return cells

    def _filled(self, text, constants):
        def value(match):
            if match[1] not in constants:
                raise BookError(f"{self.name}: {match[0]} is no constant of the variant cell → draw it there")
            return str(constants[match[1]])

        return NAME.sub(value, text)

    def setup_source(self) -> str:
        """The code that runs before all answers, without the constants."""
        return "\n\n".join(cell.source for cell in self.of("setup"))

    def solution(self, question: str) -> str:
        """The answer cell with its solution; "" for a question that a person marks."""
        return "\n\n".join(cell.source for cell in self.of("answer", question) if cell.kind == "code")


def constants_cell(constants: dict) -> str:
    """The cell that gives a student their constants."""
    lines = ["# The constants of your copy."]
    return "\n".join(lines + [_assigned(name, value) for name, value in constants.items()])


def _assigned(name, value):
    text = f"{name} = {value!r}"
    if len(text) > WIDTH:
        text = f"{name} = " + pprint.pformat(value, width=WIDTH - len(name) - 3, compact=True, sort_dicts=False)
    return text


def _without_solution(cell):
    def blank(match):
        if not match[1]:
            return "# your code"
        return f'{match[1]}raise {UNANSWERED}("Question {cell.question[1:]}: not answered yet")'

    return REGION.sub(blank, cell.source)


def names(folder: Path = FOLDER) -> list[str]:
    """The names of all assignments in a folder, sorted."""
    return sorted(path.stem for path in Path(folder).glob("*.md"))


def find(name: str, folder: Path = FOLDER) -> Path:
    """The file of an assignment, from its name or the part before the first `_`.   Raises: BookError."""
    known = names(folder)
    found = [k for k in known if k == name or k.split("_")[0] == name]
    if len(found) != 1:
        listing = ", ".join(known) or f"none in {folder}: clone the repository, or name a folder with --from"
        raise BookError(f"no homework is called {name!r} → known: {listing}")
    return Path(folder) / f"{found[0]}.md"


def load(path: Path) -> Assignment:
    """Read an assignment's file and check its form; see `parse`."""
    return parse(Path(path).stem, Path(path).read_text(encoding="utf-8"))


def parse(name: str, text: str) -> Assignment:
    """An assignment from its text.

    Raises: BookError that names the cell: an unknown tag, a question without answer or grader cell,
    solutions that are not closed, a heading without question.
    """
    import jupytext

    try:
        notebook = jupytext.reads(text, fmt="md:myst")
    except Exception as error:  # jupytext raises its own kinds for options that are not YAML or JSON
        raise BookError(f"{name}: {error} → correct that cell") from error
    assignment = Assignment(name, text, tuple(_cell(name, i, c) for i, c in enumerate(notebook.cells, 1)))
    _check_form(assignment)
    return assignment


def _cell(name, number, cell):
    marked = tags(cell)
    roles = [tag for tag in marked if tag in ROLES]
    questions = [tag for tag in marked if QUESTION.fullmatch(tag)]
    if len(roles) > 1 or len(questions) > 1 or bool(questions) != bool({"answer", "check", "grader"} & set(roles)):
        raise BookError(f"{name}: cell {number} has the tags {marked} → one of {', '.join(ROLES)}, and its question")
    others = tuple(tag for tag in marked if tag not in roles + questions)
    role, question = "".join(roles), "".join(questions)
    if cell.cell_type == "code" and not role:
        if cell.source.strip() != SETUP_CELL:
            raise BookError(f"{name}: cell {number} is code without a role → tag it setup, answer, check or grader")
        role = "setup"
    begins, ends = cell.source.count("### BEGIN SOLUTION"), cell.source.count("### END SOLUTION")
    regions = len(REGION.findall(cell.source))
    solved = role == "answer" and cell.cell_type == "code"
    if not begins == ends == regions or bool(regions) != solved:
        raise BookError(
            f"{name}: cell {number} has {begins} BEGIN and {ends} END of a solution → a pair in each code answer"
        )
    return Cell(cell.cell_type, role, question, cell.source, tags=others)


def _check_form(assignment):
    name = assignment.name
    titles = list(assignment.titles)
    expected = [f"q{i}" for i in range(1, len(titles) + 1)]
    if not titles or titles != expected:
        raise BookError(f"{name}: the headings are of {titles} → `## Question N: Title`, from 1 on")
    for role in ("answer", "grader"):
        found = [cell.question for cell in assignment.of(role)]
        if found != expected:
            raise BookError(f"{name}: the {role} cells are of {found} → one for each of {expected}, in order")
    for cell in assignment.of("answer"):
        number = cell.question[1:]
        if cell.kind == "code" and not cell.source.startswith(f"# Question {number}: answer here. Keep this line.\n"):
            raise BookError(
                f"{name}: {cell.question}'s answer → begin it with `# Question {number}: answer here. Keep this line.`"
            )
        if cell.kind == "markdown" and cell.source != written_blank(cell.question):
            raise BookError(
                f"{name}: {cell.question}'s answer → the text {written_blank(cell.question)!r} and no other"
            )
    if len(assignment.of("variant")) > 1:
        raise BookError(f"{name}: two variant cells → one")
    if assignment.of("variant") == [] and NAME.search(assignment.text):
        raise BookError(f"{name}: {NAME.search(assignment.text)[0]} but no variant cell → add one")


def written_blank(question: str) -> str:
    """What stands in a written answer before it is written."""
    return f"*Your answer to question {question[1:]}: replace this line.*"


def notebook(cells: list[Cell], metadata: dict) -> str:
    """The cells as the text of a Jupyter notebook, without outputs; locked cells are marked read-only."""
    rendered = []
    for cell in cells:
        marks = list(cell.tags) + [tag for tag in (cell.role, cell.question) if tag]
        fields = {"tags": marks} if marks else {}
        if cell.role != "answer":
            fields |= {"editable": False, "deletable": False}
        entry = {"cell_type": cell.kind, "id": cell.id, "metadata": fields, "source": cell.source}
        rendered.append(entry | ({"execution_count": None, "outputs": []} if cell.kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": rendered, "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}} | metadata}
    return json.dumps(whole | {"nbformat": 4, "nbformat_minor": 5}, ensure_ascii=False, indent=1) + "\n"
