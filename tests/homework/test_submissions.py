"""Rosters, the folders in which submissions come, and the cells of a notebook. Hostile ones: test_attacks."""

import json

import pytest

from course_lib.book.pages import BookError
from course_lib.homework import referee, release, submissions
from course_lib.homework.submissions import Refused, Student, locate, parse, read_roster, strays

KEY = bytes(32)


def roster(tmp_path, text):
    path = tmp_path / "roster.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_roster_keeps_its_order_and_all_columns(tmp_path):
    # catches: a sorted roster, a byte-order mark in the first name, quotes and commas in names
    text = '\ufeffStudent,Name,canvas_id\nbob,"Bób, Jr.",17\n\nada,Ada,18\n'
    students = read_roster(roster(tmp_path, text))
    assert [(s.id, s.name, s.columns["canvas_id"]) for s in students] == [
        ("bob", "Bób, Jr.", "17"),
        ("ada", "Ada", "18"),
    ]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "first row"),
        ("name\nAda\n", "first row"),
        ("student,name\n", "no student"),
        ("student,name\n../ada,Ada\n", "row 2"),
        ("student,name\nada,Ada\n.hidden,x\n", "row 3"),
        ("student,name\nada\0,Ada\n", "row 2"),
        ("student,name\n,Ada\n", "row 2"),
        ("student,name\na/b,Ada\n", "row 2"),
        (f"student,name\n{'a' * 65},Ada\n", "row 2"),
        ("student,name\nada,Ada\nADA,Ada\n", "different"),
        ("student,name\nada,Ada\nada,Ada\n", "different"),
        (b"student,name\nada,\xff\n", "UTF-8"),
    ],
)
def test_a_roster_that_could_name_no_files_is_refused(tmp_path, text, word):
    with pytest.raises(BookError, match=word):
        read_roster(roster(tmp_path, text))


ADA = Student("ada", "Ada", {"canvas_id": "4711", "moodle_id": "99"})


@pytest.mark.parametrize(
    "place",
    [
        "ada/hw.ipynb",
        "ada/anything at all.ipynb",
        "ada.ipynb",
        "lovelaceada_4711_123456_hw.ipynb",
        "lovelaceada_LATE_4711_123456_hw-2.ipynb",
        "Ada Lovelace_99_assignsubmission_file_/hw.ipynb",
        "Ada Lovelace_99_assignsubmission_file/hw.ipynb",
    ],
)
def test_the_forms_in_which_submissions_come(tmp_path, place):
    # catches: each form left out; another student's file that is taken for one's own
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("{}")
    others = ["adaa", "bob", "someone_99_1234_assignsubmission_file_", "x_4712_1_assignsubmission_file_"]
    for other in others:
        (tmp_path / other).mkdir()
        (tmp_path / other / "hw.ipynb").write_text("{}")
    (tmp_path / "bobbob_4712_4711_hw.ipynb").write_text("{}")
    assert locate(tmp_path, ADA, "hw") == tmp_path / place
    assert strays(tmp_path, [ADA]) == sorted(["bobbob_4712_4711_hw.ipynb", *others])
    with pytest.raises(Refused) as caught:
        locate(tmp_path, Student("eve", "Eve", {"canvas_id": ""}), "hw")
    assert caught.value.args[0] == "missing"


def test_of_several_notebooks_the_one_with_the_name_counts(tmp_path):
    (tmp_path / "ada").mkdir()
    for name in ("copy.ipynb", "draft.ipynb"):
        (tmp_path / "ada" / name).write_text("{}")
    with pytest.raises(Refused) as caught:
        locate(tmp_path, ADA, "hw")
    assert caught.value.args[0] == "several-files"
    (tmp_path / "ada" / "hw.ipynb").write_text("{}")
    assert locate(tmp_path, ADA, "hw").name == "hw.ipynb"


# --- cells ------------------------------------------------------------------------------------------


@pytest.fixture
def about(target):
    return referee.about(referee.Referee(target, KEY, "ada"))


@pytest.fixture
def notebook(target):
    return json.loads(release.student_notebook(target, KEY, "ada"))


def parsed(notebook, about):
    return parse(json.dumps(notebook).encode(), about)


def code_questions(about):
    return [q for q, entry in about["questions"].items() if entry["kind"] != "written"]


def test_a_released_notebook_has_all_answers_and_nothing_else(notebook, about):
    found = parsed(notebook, about)
    assert [name for name, _ in found.cells] == code_questions(about)
    assert found.flags == []
    assert found.duplicates == set()


@pytest.mark.parametrize("lost", [("id",), ("id", "tags")])
def test_answers_are_known_without_ids_and_without_tags(notebook, about, lost):
    # catches: a notebook that Colab saved, whose student gets nothing; check cells run as a student's own
    for cell in notebook["cells"]:
        cell.pop("id")
        if "tags" in lost:
            cell["metadata"] = {"id": "x7Yk", "colab": {}}
    found = parsed(notebook, about)
    assert [name for name, _ in found.cells] == code_questions(about)


def test_a_copy_of_an_answer_cell_is_no_answer(notebook, about):
    # catches: a copied cell, with the tags but another id, that counts as a second answer
    answer = next(cell for cell in notebook["cells"] if cell["id"] == "q1")
    notebook["cells"].append(answer | {"id": "copy", "source": "1 / 0"})
    found = parsed(notebook, about)
    assert found.duplicates == set()
    assert dict(found.cells)["q1"] == answer["source"]


def test_two_cells_with_an_answers_id_are_no_answer_unless_they_agree(notebook, about):
    answer = next(cell for cell in notebook["cells"] if cell["id"] == "q1")
    notebook["cells"].append(dict(answer))
    assert parsed(notebook, about).duplicates == set()
    notebook["cells"][-1]["source"] += "\n1"
    found = parsed(notebook, about)
    assert found.duplicates == {"q1"}
    assert "q1" not in dict(found.cells)


def test_added_cells_run_in_their_place_and_locked_ones_are_ours(notebook, about):
    # catches: a helper function in a cell of its own that is dropped; an edited set-up cell that is believed
    place = next(i for i, cell in enumerate(notebook["cells"]) if cell["id"] == "q1")
    extra = {"cell_type": "code", "id": "mine", "metadata": {}, "source": ["def helper():\n", "    return 1\n"]}
    notebook["cells"].insert(place, extra)
    for cell in notebook["cells"]:
        if cell["id"] in ("constants", "q1-check"):
            cell["source"] += "\nN = 1"
    found = parsed(notebook, about)
    assert found.cells[0] == ("extra-1", "def helper():\n    return 1\n")
    assert [name for name, _ in found.cells].count("extra-1") == 1
    assert found.flags == ["locked cells changed: constants, q1-check"]


def test_another_assignment_is_told_by_its_metadata_or_its_title(notebook, about):
    other = notebook | {"metadata": notebook["metadata"] | {"course": {"homework": "hw77"}}}
    with pytest.raises(Refused) as caught:
        parsed(other, about)
    assert caught.value.args[0] == "wrong-assignment"
    notebook["metadata"].pop("course")
    assert parsed(notebook, about).cells
    title = next(cell for cell in notebook["cells"] if cell["source"].startswith("# "))
    title["source"] = "# Another homework"
    with pytest.raises(Refused) as caught:
        parsed(notebook, about)
    assert caught.value.args[0] == "wrong-assignment"


def test_a_file_is_read_whole_up_to_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "MAX_BYTES", 100)
    path = tmp_path / "x.ipynb"
    path.write_bytes(b"x" * 100)
    assert submissions.read(path) == b"x" * 100
    path.write_bytes(b"x" * 101)
    with pytest.raises(Refused) as caught:
        submissions.read(path)
    assert caught.value.args[0] == "too-large"
