"""Every assignment of the book through the whole grader: solutions, blanks, variants, and what is released."""

import json
import os

import pytest
from handing_in import answered, solved

from course_lib.homework import referee, release, source, variants
from course_lib.homework.grade import grade
from course_lib.homework.submissions import Student

NAMES = source.names()
VARIANTS = int(os.environ.get("COURSE_VARIANTS", "3"))  # 25 for a thorough run
KEY = bytes(range(32))


@pytest.fixture(scope="module", params=NAMES)
def assignment(request):
    return source.load(source.find(request.param))


def graded(assignment, tmp_path, notebooks):
    folder = tmp_path / "submissions"
    for student, text in notebooks.items():
        (folder / student).mkdir(parents=True)
        (folder / student / f"{assignment.name}.ipynb").write_text(text)
    roster = tmp_path / "roster.csv"
    roster.write_text("student,name\n" + "".join(f"{student},\n" for student in notebooks))
    path = source.find(assignment.name)
    return grade(folder, path, roster, KEY, tmp_path / "out", jobs=2).records


def test_solutions_get_full_marks_and_blank_notebooks_none(assignment, tmp_path, sandbox):
    # catches: a part that its own reference fails for some constants, and one that a blank notebook passes
    notebooks = {}
    for i in range(VARIANTS):
        notebooks[f"full{i}"] = solved(assignment, KEY, f"full{i}")
        notebooks[f"blank{i}"] = answered(assignment, KEY, f"blank{i}", lambda cell: None)
    for record in graded(assignment, tmp_path, notebooks):
        for row in record["questions"]:
            if record["student"].startswith("blank"):
                assert (row["points"], row["reason"]) == (0, "blank"), (record["student"], row)
            elif row["kind"] == "written":
                assert (row["points"], row["reason"]) == (None, "by-hand")
            else:
                assert (row["points"], row["reason"]) == (row["max"], "ok"), (record["student"], row)


def test_variants_differ_and_stay(assignment):
    # catches: constants drawn from the assignment alone, or from a generator without the key
    def text(key, student):
        return release.student_notebook(assignment, key, student).replace(f'"{student}"', "")

    assert text(KEY, "ada") == text(KEY, "ada")
    assert len({text(KEY, f"student{i}") for i in range(25)}) == 25
    assert text(KEY, "ada") != text(KEY[::-1], "ada")


def test_the_form_is_that_of_the_course(assignment):
    # catches: an assignment of one kind of question only, or too short for an hour's work
    questions = referee.Referee(assignment, *variants.COMMON).questions
    assert 6 <= len(questions) <= 10
    assert {q.kind for q in questions.values()} == {"function", "class", "value", "model", "table", "written"}
    assert 25 <= sum(q.points for q in questions.values()) <= 45


def test_the_page_in_the_book_is_current(assignment):
    # catches: an edited assignment whose page was not written again
    path = source.FOLDER.parents[2] / "chapters" / "homework" / f"{assignment.name}.md"
    remedy = f"course homework release {assignment.name} --book; course book sync homework/{assignment.name}"
    assert path.read_text(encoding="utf-8") == release.page(assignment), remedy


def test_the_name_of_a_released_notebook_says_whose_it_is(assignment, tmp_path):
    # catches: one student's constants in another's folder
    students = [Student("ada", "Ada"), Student("bob", "Bob")]
    files = release.release(assignment, tmp_path, students, KEY)
    assert [f.relative_to(tmp_path).parts[0] for f in files] == ["ada", "bob"]
    for student in students:
        notebook = json.loads((tmp_path / student.id / f"{assignment.name}.ipynb").read_text())
        assert notebook["metadata"]["course"] == {"homework": assignment.name, "student": student.id}
    assert release.release(assignment, tmp_path, students, KEY) == []
