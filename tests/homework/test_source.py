"""Assignments: what students get of them, and what is wrong with a broken one."""

import json

import nbformat
import pytest

from course_lib.book.pages import BookError
from course_lib.homework import referee, release, source, variants

KEY = bytes(32)


@pytest.fixture
def text(target):
    return target.text


def replaced(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


def test_students_get_everything_but_what_is_hidden(target):
    # catches: a solution, a grader cell or the variant cell that is released
    cells = target.student_cells(target.constants_of(KEY, "ada"))
    together = "\n".join(cell.source for cell in cells)
    for word in ("BEGIN SOLUTION", "END SOLUTION", "def variant", "question(", "part(", "written(", "{{"):
        assert word not in together
    answers = [cell.question for cell in cells if cell.role == "answer"]
    assert answers == list(target.titles)
    assert len({cell.id for cell in cells}) == len(cells)


def test_an_indented_solution_becomes_an_error_and_another_a_remark():
    cell = source.Cell("code", "answer", "q3", "def f():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION")
    assert source._without_solution(cell) == 'def f():\n    raise NotImplementedError("Question 3: not answered yet")'
    cell = source.Cell("code", "answer", "q3", "x = ...\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION\n")
    assert source._without_solution(cell) == "x = ...\n# your code\n"


def test_a_released_notebook_is_valid_and_locked(target):
    notebook = nbformat.reads(release.student_notebook(target, KEY, "ada"), as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        answer = "answer" in cell.metadata.get("tags", [])
        assert cell.metadata.get("editable", True) is answer or cell.metadata.get("editable") is False
        assert (cell.metadata.get("deletable") is False) != answer


def test_the_page_of_the_book_has_the_same_cells(target):
    # catches: a page whose cells, tags or order differ from the notebook that is released
    import jupytext

    page = jupytext.reads(release.page(target), fmt="md:myst")
    notebook = json.loads(release.student_notebook(target, *variants.COMMON))
    assert [c.source for c in page.cells if c.cell_type == "code"] == [
        c["source"] for c in notebook["cells"] if c["cell_type"] == "code"
    ]
    answers = [c.metadata["tags"] for c in page.cells if "answer" in c.metadata.get("tags", [])]
    assert answers == [["answer", q] for q in target.titles]


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("### END SOLUTION", "### END", "BEGIN and"),
        ("    ### BEGIN SOLUTION", "    pass", "BEGIN and"),
        (":tags: [grader, q1]", ":tags: [grader, q2]", "grader cells"),
        (":tags: [answer, q1]", ":tags: [answer]", "tags"),
        (":tags: [setup]", ":tags: []", "role"),
        (":tags: [setup]", ":tags: [setup, answer]", "tags"),
        ("## Question 1: ", "## Question 7: ", "headings"),
        ("# Question 1: answer here. Keep this line.", "# Answer", "begin it with"),
        ("replace this line.*", "write here.*", "no other"),
        ("def variant(rng):", "def variant(rng):\n    return {'n': 1}\ndef other(rng):", "UPPERCASE"),
        ("{{", "{{ NOTHING }} {{", "no constant"),
        ("question(\"q1\"", "question(\"q9\"", "declare"),
    ],
)  # fmt: skip
def test_a_broken_assignment_is_refused_with_its_place(text, old, new, word):
    # catches: each check left out; an assignment that would be released with its solution
    broken = replaced(text, old, new)
    with pytest.raises(BookError, match=word):
        use(broken)


def use(text):
    assignment = source.parse("broken", text)
    release.student_notebook(assignment, KEY, "ada")
    referee.Referee(assignment, KEY, "ada")


def test_names_are_found_by_their_beginning(tmp_path):
    for name in ("hw01_a", "hw02_b", "hw02_c"):
        (tmp_path / f"{name}.md").write_text("x")
    assert source.find("hw01", tmp_path).stem == "hw01_a"
    assert source.find("hw02_c", tmp_path).stem == "hw02_c"
    for wrong in ("hw02", "hw03", "../hw01_a"):
        with pytest.raises(BookError, match="known: hw01_a, hw02_b, hw02_c"):
            source.find(wrong, tmp_path)
    with pytest.raises(BookError, match="--from"):
        source.find("hw01", tmp_path / "nothing")


def test_hidden_inputs_need_the_key(target):
    # catches: inputs drawn from what students can know: the book's key, the student's id, the source
    def drawn(key, student, common):
        judge, asked = referee.Referee(target, key, student, common), []

        def ask(code, given, seed):
            asked.append((seed, referee.show(given)))
            raise referee.Unanswered("raised", "")

        for question in judge.questions:
            judge.judge(question, ask)
        return str(asked)

    ours = drawn(KEY, "ada", False)
    assert drawn(KEY, "ada", False) == ours
    others = [drawn(b"x" * 32, "ada", False), drawn(KEY, "bob", False), drawn(b"x" * 32, "ada", True)]
    others += [drawn(variants.COMMON[0], "ada", True), drawn(*variants.COMMON, True), drawn(KEY, "bob", True)]
    assert len({ours, *others}) == 7
