"""What students get: their notebooks, with their own constants; and the pages of the book."""

import re
from pathlib import Path

from course_lib.book.pages import HEADER, write_text
from course_lib.homework import source, variants
from course_lib.homework.submissions import Student

__all__ = ["page", "release", "student_notebook"]

FENCES = re.compile(r"`{3,}")


def student_notebook(assignment: source.Assignment, key: bytes, student: str) -> str:
    """The text of one student's notebook; `*variants.COMMON` gives the one in the book."""
    constants = assignment.constants_of(key, student)
    about = {"course": {"homework": assignment.name, "student": student}}
    return source.notebook(assignment.student_cells(constants), about)


def release(assignment: source.Assignment, out: Path, students: list[Student], key: bytes) -> list[Path]:
    """Write OUT/STUDENT/NAME.ipynb for every student, or OUT/NAME.ipynb where there are none.

    Returns the files that changed.
    """
    if not students:
        target = Path(out) / f"{assignment.name}.ipynb"
        files = {target: student_notebook(assignment, *variants.COMMON)}
    else:
        files = {
            Path(out) / student.id / f"{assignment.name}.ipynb": student_notebook(assignment, key, student.id)
            for student in students
        }
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
    return [path for path, text in files.items() if write_text(path, text)]


def page(assignment: source.Assignment) -> str:
    """The MyST source of the book's page: the common variant, without solutions."""
    constants = assignment.constants_of(*variants.COMMON)
    parts = [HEADER + "\n"]
    for cell in assignment.student_cells(constants):
        if cell.kind == "markdown":
            marks = f'+++ {{"tags": ["answer", "{cell.question}"]}}\n\n' if cell.role == "answer" else ""
            parts.append(f"{marks}{cell.source}\n" + ("\n+++\n" if marks else ""))
            continue
        marks = [*cell.tags, *(tag for tag in (cell.role, cell.question) if tag)]
        parts.append(f"```{{code-cell}} ipython3\n:tags: [{', '.join(marks)}]\n\n{cell.source}\n```\n")
    return "\n".join(parts)
