"""The course for nbgrader, and the released nbgrader at work on it (`make nbgrader` installs it)."""

import json
import os
from types import SimpleNamespace

import nbformat
import pytest
from real_nbgrader import BIN, MISSING, TRIAL, Course, solutions

from course_lib.book.pages import BookError
from course_lib.homework import nbgrader, source, variants
from course_lib.homework.referee import Referee

NAME = TRIAL.stem
CENTRE = "def centre(x):\n    {}return x - x.mean(0)"
FIELDS = {"schema_version", "grade", "solution", "locked", "task", "grade_id", "cell_type"}
NOISY = CENTRE.format("import sys\n    print('odd', file=sys.stderr)\n    print(1.0)\n    ")
SUBMITTED = {  # student → answers, and the points they deserve
    "right": ({"q1": "batches = -(-N // 7)", "q2": NOISY, "q3": "half = N / 2", "q4": "Because of the bias."}, 7),
    "blank": ({}, 0),
    "wrong": ({"q1": "batches = 1", "q2": "def centre(x):\n    return x", "q3": "half = 'N / 2'"}, 0),
    "partly": ({"q2": CENTRE.format("if len(x) == 1:\n        return x\n    ")}, 3),
    "stuck": (
        {"q1": "raise SystemExit", "q2": CENTRE.format("while True:\n        pass\n    "), "q3": "half = N / 2"},
        1,
    ),
}


@pytest.fixture(scope="module")
def trial():
    return source.load(TRIAL)


@pytest.fixture(scope="module")
def notebook(trial, tmp_path_factory):
    return nbformat.read(nbgrader.course(trial, tmp_path_factory.mktemp("course")), as_version=4)


@pytest.fixture(scope="session")
def real():
    if not (BIN / "nbgrader").exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(MISSING)


@pytest.fixture(scope="session")
def graded(real, tmp_path_factory):
    """The trial course after all that nbgrader does to it."""
    made = Course(tmp_path_factory.mktemp("nbgrader"), [TRIAL])
    # What jupytext leaves beside a notebook that someone opened.
    (made.root / "source" / NAME / f"{NAME}.md").write_text(TRIAL.read_text())
    made.run("nbgrader", "generate_assignment", NAME)
    for student, (answers, _) in SUBMITTED.items():
        made.submit(student, NAME, answers)
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
    assert answers == set(trial.titles)


def test_every_point_of_the_assignment_is_in_the_notebook(notebook, trial):
    """Catches: a question without a test cell, or with the points of its neighbour."""
    points = {meta(cell)["grade_id"]: meta(cell)["points"] for cell in notebook.cells if meta(cell)["grade"]}
    assert points == {"q1-tests": 2, "q2-tests": 4, "q3-tests": 1, "q4": 3}
    assert sum(points.values()) == sum(q.points for q in Referee(trial, *variants.COMMON).questions.values())


def test_constants_are_those_of_the_book(notebook, trial):
    """Catches: a variant drawn with other words than the page's, so that the statement does not fit the tests."""
    constants = trial.constants_of(*variants.COMMON)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert f"N = {constants['N']}" in text
    assert "{{" not in text
    assert "PLANTED-VARIANT" not in text


def test_what_is_there_is_not_overwritten(trial, tmp_path):
    """Catches: a teacher's edited notebook or settings lost when the assignment is written again."""
    path = nbgrader.course(trial, tmp_path)
    assert nbgrader.course(trial, tmp_path) == path
    config = tmp_path / "nbgrader_config.py"
    config.write_text("mine")
    nbgrader.course(trial, tmp_path)
    assert config.read_text() == "mine"
    path.write_text("mine")
    with pytest.raises(BookError, match="is another one → remove it"):
        nbgrader.course(trial, tmp_path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", source.names())
def test_every_assignment_becomes_a_course(name, tmp_path):
    """Catches: an assignment with a cell that has no place in nbgrader's notebook."""
    found = nbformat.read(nbgrader.course(source.load(source.find(name)), tmp_path), as_version=4)
    nbformat.validate(found)
    assert {meta(cell)["grade_id"].removesuffix("-tests") for cell in found.cells if meta(cell)["grade"]} == set(
        source.load(source.find(name)).titles
    )


# --- judge, without nbgrader --------------------------------------------------------------------------


@pytest.fixture
def judge(monkeypatch, trial, tmp_path):
    nbgrader.course(trial, tmp_path)
    monkeypatch.setenv(nbgrader.FOLDER, str(tmp_path / "assignments"))
    setup = {"N": Referee(trial, *variants.COMMON).constants["N"]}

    def run(question, code):
        names = dict(setup)
        exec(code, names)
        return nbgrader.judge(NAME, question, names)

    return run


def test_judge_gives_the_points_of_the_parts_that_are_right(judge, capsys):
    """Catches: all or nothing; an answer in the feedback; the student's names changed by the tests."""
    assert judge("q2", CENTRE.format("")) == 4.0
    assert judge("q2", SUBMITTED["partly"][0]["q2"]) == 3.0
    shown = capsys.readouterr().out
    assert "3 of 4 points" in shown
    assert "0 of 1  one row: wrong" in shown
    assert judge("q1", "batches = ...") == 0.0
    assert "blank" in capsys.readouterr().out


def test_judge_is_silent_on_standard_error(judge, capsys):
    """Catches: nbgrader's rule that any word on standard error is a failure, applied to a mere warning."""
    assert judge("q2", NOISY) == 4.0
    assert capsys.readouterr().err == ""


def test_judge_stops_an_endless_answer_even_if_it_catches_exceptions(judge, capsys):
    """Catches: one loop that takes the time of the whole class; a second loop asked after the first."""
    stubborn = (
        "def centre(x):\n    while True:\n        try:\n            sum(range(1000))\n        except Exception: pass"
    )
    assert judge("q2", stubborn) == 0.0
    shown = capsys.readouterr().out
    assert "timeout: it ran longer than 1 seconds" in shown
    assert "skipped" in shown


def test_the_hidden_inputs_are_those_of_the_course_and_stay(judge, trial, tmp_path, capsys):
    """Catches: inputs that anyone can draw from the public source, and other marks when graded again."""
    judge("q2", "def centre(x):\n    return x")
    first = capsys.readouterr().out
    judge("q2", "def centre(x):\n    return x")
    assert capsys.readouterr().out == first
    (tmp_path / "assignments" / nbgrader.KEY).unlink()
    nbgrader.course(trial, tmp_path)
    nbgrader._referee.cache_clear()
    judge("q2", "def centre(x):\n    return x")
    assert capsys.readouterr().out != first


def test_judge_says_what_is_missing_outside_a_course(monkeypatch):
    """Catches: no points for a whole class because a setting was not taken over."""
    monkeypatch.delenv(nbgrader.FOLDER, raising=False)
    with pytest.raises(BookError, match="COURSE_HOMEWORK names no folder → take its line over"):
        nbgrader.judge(NAME, "q1", {})


# --- the real nbgrader --------------------------------------------------------------------------------


@pytest.mark.parametrize("student", SUBMITTED)
def test_nbgrader_gives_what_an_answer_deserves(graded, student):
    """Catches: metadata that nbgrader reads otherwise, a hidden test that fails, and all points for no output."""
    assert sum(graded.scores[student].values()) == SUBMITTED[student][1], graded.scores[student]


def test_written_answers_wait_for_a_person_unless_they_are_blank(graded):
    """Catches: a written answer that nbgrader marks itself, and a blank one that a person has to open."""
    assert "q4" not in graded.scores["right"]
    assert graded.scores["blank"]["q4"] == 0


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
    assert "".join(answers["q4"]).strip() == source.written_blank("q4")


def test_feedback_says_what_was_wrong_but_no_secret(graded):
    """Catches: feedback that shows the reference, and one that says nothing."""
    for student in SUBMITTED:
        page = (graded.course.root / "feedback" / student / NAME / f"{NAME}.html").read_text(encoding="utf-8")
        assert "PLANTED" not in page
    page = (graded.course.root / "feedback" / "partly" / NAME / f"{NAME}.html").read_text(encoding="utf-8")
    assert "0 of 1  one row: wrong" in page


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
