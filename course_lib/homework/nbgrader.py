"""An assignment as a course for nbgrader, and `judge`, which its test cells call.

nbgrader runs a student's answers and the tests in one process: an answer can read the solution there and
change what the tests see. `course homework grade` keeps them apart; nbgrader is for students whom you trust.
Here everyone has the constants of the book; the hidden inputs come from a key of the course.

Checked against nbgrader 0.9.6, the real one: generate_assignment, autograde, generate_feedback.
"""

import contextlib
import functools
import io
import os
import signal
from pathlib import Path

from course_lib.book.pages import BookError, write_text
from course_lib.homework import source, variants, wire
from course_lib.homework.referee import Referee, Unanswered
from course_lib.homework.running import answer

__all__ = ["course", "judge"]

FOLDER = "COURSE_HOMEWORK"  # the environment variable that names the folder with the assignments and the key
KEY = "homework.key"
CONFIG = f'''\
# nbgrader reads this file first. It is written once: change it as you like.
import os
from pathlib import Path

c = get_config()
c.CourseDirectory.course_id = "training_deep_networks"

# What lies beside a source notebook is released with it. A Markdown pair of it would hold the solutions.
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", "feedback", "*.md"]

# Seconds for a cell. The tests stop an answer that takes too long before that.
c.Execute.timeout = 90

# What stands in place of a solution: a line in code; nothing in text, whose cells ask for an answer already.
c.ClearSolutions.code_stub = {{"python": '# your code\\nraise NotImplementedError("not answered yet")'}}
c.ClearSolutions.text_stub = ""

# Where the tests find the questions. No student may see this folder before the deadline.
os.environ["{FOLDER}"] = str(Path(__file__).resolve().parent / "assignments")
'''
TESTS = """\
# The tests of question {} run here.
### BEGIN HIDDEN TESTS
from course_lib.homework.nbgrader import judge

judge({!r}, {!r}, globals())
### END HIDDEN TESTS"""


# --- the course -------------------------------------------------------------------------------------


def course(assignment: source.Assignment, target: Path) -> Path:
    """Write an assignment into the nbgrader course in the folder `target`; returns its source notebook.

    target/source/<name>/<name>.ipynb: statement, set-up and checks read-only; answers with their solutions; after
    each question a test cell whose hidden part calls `judge`; written answers for a person to mark.
    target/assignments: what `judge` reads, and the key, which is left alone where there is one, as is
    target/nbgrader_config.py.
    Raises: BookError for a file that is there and would change: a person may have worked on it.
    Chapter: the instructor's guide.
    """
    target, name = Path(target), assignment.name
    notebook = target / "source" / name / f"{name}.ipynb"
    files = {target / "assignments" / f"{name}.md": assignment.text, notebook: _notebook(assignment)}
    for path, text in files.items():
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise BookError(f"{path} is another one → remove it to have it written anew, or name another folder")
    config = target / "nbgrader_config.py"
    for path, text in (files if config.exists() else files | {config: CONFIG}).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    if not (target / "assignments" / KEY).exists():
        variants.make_key(target / "assignments" / KEY)
    return notebook


def _notebook(assignment):
    import nbformat

    referee = Referee(assignment, *variants.COMMON)
    originals = [cell for cell in assignment.cells if cell.role != "grader"]
    cells = list(zip(originals, assignment.student_cells(referee.constants), strict=True))
    last = {cell.question: cell.id for _, cell in cells if cell.question}
    made = []
    for original, cell in cells:
        question = referee.questions.get(cell.question)
        if cell.role == "answer" and question.kind == "written":
            text = f"{cell.source}\n\n### BEGIN SOLUTION\n{question.rubric.strip()}\n### END SOLUTION"
            made.append(_cell("markdown", cell.id, text, grade=True, solution=True, points=question.points))
        elif cell.role == "answer":
            made.append(_cell("code", cell.id, original.source, solution=True))
        else:
            made.append(_cell(cell.kind, cell.id, cell.source))
        if question and question.kind != "written" and last[question.id] == cell.id:
            # Not in the cell of the check: a warning from the answer there would cost all points.
            text = TESTS.format(question.id[1:], assignment.name, question.id)
            made.append(_cell("code", f"{question.id}-tests", text, grade=True, points=question.points))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    whole = nbformat.from_dict({"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})
    return nbformat.writes(whole).rstrip("\n") + "\n"


def _cell(kind, name, text, **fields):
    """A cell with nbgrader's metadata; read-only unless it is a solution."""
    fields = {"grade": False, "solution": False, "task": False, "cell_type": kind} | fields
    fields |= {"schema_version": 3, "grade_id": name, "locked": not fields["solution"]}
    cell = {"cell_type": kind, "id": name, "metadata": {"nbgrader": fields}, "source": text}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


# --- in the kernel that nbgrader starts ---------------------------------------------------------------


def judge(assignment: str, question: str, names: dict) -> float:
    """The points for a question, for nbgrader: a number that ends a test cell is its points.

    names: the student's, such as globals(). Prints a line for each part, for the feedback; no answer is in it.
    Nothing goes to standard error: nbgrader takes any word there as a failure.
    """
    with contextlib.redirect_stderr(io.StringIO()):
        referee = _referee(assignment, _folder())
        seconds = referee.questions[question].seconds
        results = referee.judge(question, functools.partial(_ask, names, seconds))
    points, best = (sum(result[key] for result in results) for key in ("points", "max"))
    print(f"Question {question[1:]}: {points} of {best} points")
    for result in results:
        print(f"  {result['points']} of {result['max']}  {result['what']}: {_told(result)}")
    return float(points)


def _folder():
    if FOLDER not in os.environ:
        raise BookError(f"{FOLDER} names no folder → take its line over from the nbgrader_config.py that was written")
    return Path(os.environ[FOLDER])


@functools.cache
def _referee(name, folder):
    key = variants.read_key(folder / KEY)
    return Referee(source.load(source.find(name, folder)), key, "", common=True)


def _told(result):
    if result["reason"] == "ok":
        return "right"
    parts = [f"{result['reason']}: {result['message']}"]
    parts += [f"{key}: {result[key]}" for key in ("asked", "got") if key in result]
    return "\n          ".join(parts)


def _ask(names, seconds, code, given, seed):
    tree, body = wire.encode(given)
    with _limit(seconds) as late:
        reply, body = answer({"code": code, "given": tree, "seed": seed}, body, names)
    if late:
        raise Unanswered("timeout", f"it ran longer than {seconds:g} seconds")
    if "failure" in reply:
        raise Unanswered(*reply["failure"])
    return wire.decode(reply["value"], body)


class _Late(BaseException):  # no Exception, which an answer may catch
    pass


@contextlib.contextmanager
def _limit(seconds):
    """Interrupt what runs longer, and again each second; the list that is yielded then has an item."""
    late = []
    if not hasattr(signal, "setitimer"):  # Windows: nbgrader's own limit for a cell is left
        yield late
        return

    def interrupt(*_):
        late.append(True)
        raise _Late

    old = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield late
    except _Late:  # between the answer's end and the timer's
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
