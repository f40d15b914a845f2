"""The course for nbgrader, and the released nbgrader at work on it (`make nbgrader` installs it)."""

import json
import os
import re
import shutil
import time
from types import SimpleNamespace

import nbformat
import pytest
from real_nbgrader import BIN, MISSING, TARGET, Course, solutions

from course_lib.book.pages import BookError
from course_lib.homework import nbgrader, source, variants
from course_lib.homework.referee import Referee

NAME = "hw90_planted"
FIELDS = {"schema_version", "grade", "solution", "locked", "task", "grade_id", "cell_type"}
NORMALISE = "def normalise(x):\n    {}return x / x.sum()"
NOISY = NORMALISE.format("import sys\n    print('odd', file=sys.stderr)\n    print(1.0)\n    ")
SUBMITTED = {  # student → answers other than the solutions, and the points they deserve
    "right": ({"q2": NOISY, "q6": "So that they add up to one."}, 15),
    "wrong": ({"q1": "batches, last = 'many', -1", "q2": "def normalise(x):\n    return x"}, 9),
    "partly": ({"q2": "def normalise(x):\n    x /= x.sum()\n    return x"}, 14),
    "stuck": ({"q1": "raise SystemExit", "q2": NORMALISE.format("while True:\n        pass\n    ")}, 9),
}


@pytest.fixture(scope="session")
def trial(tmp_path_factory):
    """The small assignment with marks in all that students must not see, and a question without a check."""
    text = TARGET.read_text(encoding="utf-8")
    for line in ("def variant(rng):", "    return x / x.sum()", "batches = -(-ROWS // SIZE)", "def draw(rng):"):
        assert line in text
        text = text.replace(line, f"{line}  # PLANTED")
    text = text.replace('rubric="', 'rubric="PLANTED ')
    text = re.sub(r"```\{code-cell\} ipython3\n:tags: \[check, q5\].*?```", "", text, flags=re.DOTALL)
    path = tmp_path_factory.mktemp("trial") / f"{NAME}.md"
    path.write_text(text, encoding="utf-8")
    return path, source.load(path)


@pytest.fixture(scope="module")
def notebook(trial, tmp_path_factory):
    return nbformat.read(nbgrader.course(trial[1], tmp_path_factory.mktemp("course")), as_version=4)


@pytest.fixture(scope="session")
def real():
    if not (BIN / "nbgrader").exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(MISSING)


@pytest.fixture(scope="session")
def graded(real, trial, tmp_path_factory):
    """The trial's course after all that nbgrader does to it."""
    path, assignment = trial
    made = Course(tmp_path_factory.mktemp("nbgrader"), [path])
    # What jupytext leaves beside a notebook that someone opened.
    shutil.copy(path, made.root / "source" / NAME)
    made.run("nbgrader", "generate_assignment", NAME)
    unmarked = {question: answer.replace("  # PLANTED", "") for question, answer in solutions(assignment).items()}
    for student, (answers, _) in SUBMITTED.items():
        made.submit(student, NAME, unmarked | answers)
    made.submit("blank", NAME, {})
    made.autograde(NAME, "--Execute.timeout=15")
    made.run("nbgrader", "generate_feedback", NAME)
    return SimpleNamespace(course=made, scores=made.scores())


def meta(cell):
    return cell["metadata"]["nbgrader"]


# --- the notebook that is written ---------------------------------------------------------------------


def test_the_source_is_a_notebook_with_nbgraders_metadata(notebook, trial):
    """Catches: an answer that is locked, a statement that is not, a double id, a pairing that invites a .md."""
    nbformat.validate(notebook)
    assert "jupytext" not in notebook.metadata
    names = [meta(cell)["grade_id"] for cell in notebook.cells]
    assert len(names) == len(set(names))
    for cell in notebook.cells:
        assert set(meta(cell)) - {"points"} == FIELDS
        assert meta(cell)["schema_version"] == 3
        assert meta(cell)["locked"] == (not meta(cell)["solution"])
        assert ("points" in meta(cell)) == meta(cell)["grade"]
    answers = {meta(cell)["grade_id"] for cell in notebook.cells if meta(cell)["solution"]}
    assert answers == set(trial[1].titles)


def test_every_point_of_the_assignment_is_in_the_notebook(notebook):
    """Catches: a question without a test cell, or with the points of its neighbour."""
    points = {meta(cell)["grade_id"]: meta(cell)["points"] for cell in notebook.cells if meta(cell)["grade"]}
    assert points == {"q1-tests": 2, "q2-tests": 4, "q3-tests": 3, "q4-tests": 3, "q5-tests": 3, "q6": 4}


def test_constants_are_those_of_the_book(notebook, trial):
    """Catches: a variant drawn with other words than the page's, so that the statement does not fit the tests."""
    text = "\n".join(cell.source for cell in notebook.cells)
    for name, value in trial[1].constants_of(*variants.COMMON).items():
        assert f"{name} = {value!r}" in text
    assert "{{" not in text


def test_what_is_there_is_not_overwritten(trial, tmp_path):
    """Catches: a teacher's edited notebook or settings lost when the assignment is written again."""
    path = nbgrader.course(trial[1], tmp_path)
    assert nbgrader.course(trial[1], tmp_path) == path
    config = tmp_path / "nbgrader_config.py"
    config.write_text("mine")
    nbgrader.course(trial[1], tmp_path)
    assert config.read_text() == "mine"
    path.write_text("mine")
    with pytest.raises(BookError, match="is another one → remove it"):
        nbgrader.course(trial[1], tmp_path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", source.names())
def test_every_assignment_becomes_a_course(name, tmp_path):
    """Catches: an assignment with a cell that has no place in nbgrader's notebook."""
    assignment = source.load(source.find(name))
    found = nbformat.read(nbgrader.course(assignment, tmp_path), as_version=4)
    nbformat.validate(found)
    graded = {meta(cell)["grade_id"].removesuffix("-tests") for cell in found.cells if meta(cell)["grade"]}
    assert graded == set(assignment.titles)


# --- judge, without nbgrader --------------------------------------------------------------------------


@pytest.fixture
def judge(monkeypatch, trial, tmp_path):
    nbgrader.course(trial[1], tmp_path)
    monkeypatch.setenv(nbgrader.FOLDER, str(tmp_path / "assignments"))

    def run(question, code):
        names = {}
        exec(code, names)
        return nbgrader.judge(NAME, question, names)

    return run


def test_judge_gives_the_points_of_the_parts_that_are_right(judge, capsys):
    """Catches: all or nothing, and feedback that does not say which part failed."""
    assert judge("q2", NORMALISE.format("")) == 4.0
    assert judge("q2", SUBMITTED["partly"][0]["q2"]) == 3.0
    shown = capsys.readouterr().out
    assert "3 of 4 points" in shown
    assert "0 of 1  leaves its input as it is: wrong" in shown
    assert judge("q1", "batches = last = ...") == 0.0
    assert "blank" in capsys.readouterr().out


def test_judge_is_silent_on_standard_error(judge, capsys):
    """Catches: nbgrader's rule that any word on standard error is a failure, applied to a mere warning."""
    assert judge("q2", NOISY) == 4.0
    assert capsys.readouterr().err == ""


def test_judge_stops_an_endless_answer_even_if_it_catches_exceptions(judge, capsys):
    """Catches: one loop that takes the time of the whole class; a second loop asked after the first."""
    loop = """end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            sum(range(1000))
        except Exception:
            pass
    """
    start = time.monotonic()
    assert judge("q2", "import time\n" + NORMALISE.format(loop)) == 0.0
    assert time.monotonic() - start < 15
    shown = capsys.readouterr().out
    assert "timeout: it ran longer than 5 seconds" in shown
    assert "skipped" in shown


def test_the_hidden_inputs_are_those_of_the_course_and_stay(judge, trial, tmp_path, capsys):
    """Catches: inputs that anyone can draw from the public source, and other marks when graded again."""
    judge("q2", "def normalise(x):\n    return x")
    first = capsys.readouterr().out
    judge("q2", "def normalise(x):\n    return x")
    assert capsys.readouterr().out == first
    (tmp_path / "assignments" / nbgrader.KEY).unlink()
    nbgrader.course(trial[1], tmp_path)
    nbgrader._referee.cache_clear()
    judge("q2", "def normalise(x):\n    return x")
    assert capsys.readouterr().out != first


def test_judge_says_what_is_missing_outside_a_course(monkeypatch):
    """Catches: no points for a whole class because a setting was not taken over."""
    monkeypatch.delenv(nbgrader.FOLDER, raising=False)
    with pytest.raises(BookError, match="COURSE_HOMEWORK names no folder → take its line over"):
        nbgrader.judge(NAME, "q1", {})


# --- the real nbgrader --------------------------------------------------------------------------------


@pytest.mark.parametrize("student", [*SUBMITTED, "blank"])
def test_nbgrader_gives_what_an_answer_deserves(graded, student):
    """Catches: metadata that nbgrader reads otherwise, a hidden test that fails, and all points for no output."""
    deserved = SUBMITTED[student][1] if student in SUBMITTED else 0
    assert sum(graded.scores[student].values()) == deserved, graded.scores[student]


def test_written_answers_wait_for_a_person_unless_they_are_blank(graded):
    """Catches: a written answer that nbgrader marks itself, and a blank one that a person has to open."""
    assert "q6" not in graded.scores["right"]
    assert graded.scores["blank"]["q6"] == 0


def test_nothing_secret_is_released(graded):
    """Catches: a hidden test or solution left in, and the .md that lies beside the source copied along."""
    folder = graded.course.root / "release"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [path.name for path in files] == [f"{NAME}.ipynb"]
    text = files[0].read_text(encoding="utf-8")
    for word in ("PLANTED", "BEGIN", "judge", "### END"):
        assert word not in text
    nbformat.validate(nbformat.reads(text, as_version=4))
    answers = {meta(cell)["grade_id"]: cell["source"] for cell in graded.course.released(NAME)["cells"]}
    assert "raise NotImplementedError" in "".join(answers["q2"])
    assert "".join(answers["q6"]).strip() == source.written_blank("q6")


def test_feedback_says_what_was_wrong_but_no_secret(graded):
    """Catches: feedback that shows the reference, and one that says nothing."""
    for student in SUBMITTED:
        page = (graded.course.root / "feedback" / student / NAME / f"{NAME}.html").read_text(encoding="utf-8")
        assert "PLANTED" not in page
    page = (graded.course.root / "feedback" / "partly" / NAME / f"{NAME}.html").read_text(encoding="utf-8")
    assert "0 of 1  leaves its input as it is: wrong" in page


@pytest.mark.parametrize("name", source.names())
def test_every_assignment_is_worth_full_marks_in_nbgrader(real, tmp_path, name):
    """Catches: a solution that only passes in our grader, and a blank notebook that gets points."""
    made = Course(tmp_path / "course", [source.find(name)])
    assignment = source.load(source.find(name))
    made.run("nbgrader", "generate_assignment", name)
    made.submit("right", name, solutions(assignment))
    made.submit("blank", name, {})
    made.autograde(name)
    scores = made.scores()
    best = {f"{q.id}-tests": q.points for q in Referee(assignment, *variants.COMMON).questions.values() if q.parts}
    assert {cell: scores["right"][cell] for cell in best} == best
    assert set(scores["blank"].values()) == {0}
    released = json.dumps(made.released(name))
    assert not any(word in released for word in ("BEGIN SOLUTION", "HIDDEN TESTS", "homework.nbgrader"))
