"""The self-check: in the notebook, and of a whole notebook from the command line."""

import json

import pytest

from course_lib.book.pages import BookError
from course_lib.homework import release, variants
from course_lib.homework.check import RESULTS, Check
from course_lib.homework.selfcheck import selfcheck


def not_answered():
    raise NotImplementedError("Question 3: not answered yet")


def test_each_line_says_what_should_be_so(capsys):
    with Check("q3") as check:
        check(True, "it has four rows")
        check([] == [1], "it is sorted")
    assert capsys.readouterr().out == "Question 3\n  ✓ it has four rows\n  ✗ it is sorted\n"
    assert RESULTS["q3"] == {"blank": False, "passed": 1, "failed": 1}


def test_what_is_not_answered_is_no_error(capsys):
    # catches: a blank notebook that stops at its first check
    with Check("q3") as check:
        check(True, "it has four rows")
        check(not_answered(), "never printed")
    with Check("q4", ...) as check:
        check(... > 0, "never printed")
    assert capsys.readouterr().out == "Question 3\n  – not answered yet\nQuestion 4\n  – not answered yet\n"
    assert RESULTS["q4"]["blank"]


def test_an_error_is_a_line_too_and_the_notebook_goes_on(capsys):
    with Check("q3") as check:
        check(undefined > 0, "it is positive")  # noqa: F821
    assert "✗ it stops with NameError: name 'undefined' is not defined" in capsys.readouterr().out


def test_all_lines_right_says_that_the_grader_asks_for_more(capsys):
    with Check("q3") as check:
        check(True, "it has four rows")
    assert "other inputs" in capsys.readouterr().out


def test_ctrl_c_ends_a_check():
    with pytest.raises(KeyboardInterrupt), Check("q3"):
        raise KeyboardInterrupt


# --- the command ------------------------------------------------------------------------------------


def saved(tmp_path, notebook):
    path = tmp_path / "mine.ipynb"
    path.write_text(json.dumps(notebook))
    return path


@pytest.fixture
def notebook(target):
    return json.loads(release.student_notebook(target, *variants.COMMON))


def test_a_blank_notebook_has_nothing_wrong(tmp_path, notebook, target, capfd):
    assert selfcheck(saved(tmp_path, notebook)) == 0
    out = capfd.readouterr().out
    checks = len(target.of("check"))
    assert out.count("– not answered yet") == checks
    assert out.endswith(f"{checks} checked: 0 without an objection, {checks} not answered yet, 0 to look at\n")


def test_solutions_pass_and_a_mistake_is_told(tmp_path, notebook, target, capfd):
    for cell in notebook["cells"]:
        solution = target.solution(cell["id"]) if cell["id"] in target.titles else ""
        cell["source"] = solution or cell["source"]
    checks = len(target.of("check"))
    assert selfcheck(saved(tmp_path, notebook)) == 0
    assert f"{checks} without an objection" in capfd.readouterr().out
    place = next(i for i, cell in enumerate(notebook["cells"]) if cell["id"] == "q1")
    notebook["cells"][place]["source"] = "# Question 1: answer here. Keep this line.\n\n1 / 0"
    assert selfcheck(saved(tmp_path, notebook)) == 1
    out = capfd.readouterr().out
    assert "The cell q1 stops: ZeroDivisionError: division by zero\n(line 3 of the cell of q1)" in out
    assert "2 cells stopped" in out  # the answer, and the check that asks for its names


def test_what_is_no_homework_is_refused(tmp_path, notebook):
    with pytest.raises(BookError, match="no checks"):
        selfcheck(saved(tmp_path, notebook | {"cells": []}))
    (tmp_path / "mine.ipynb").write_text("{")
    with pytest.raises(BookError, match="no notebook"):
        selfcheck(tmp_path / "mine.ipynb")
    with pytest.raises(BookError, match="no notebook"):
        selfcheck(tmp_path / "missing.ipynb")
    loop = {"cell_type": "code", "metadata": {}, "id": "x", "source": "while True: pass"}
    with pytest.raises(BookError, match="more than 1 s"):
        selfcheck(saved(tmp_path, notebook | {"cells": [loop]}), seconds=1)
