"""`course book check`: every rule is broken once, and a sound book has no problem."""

import json
import re

import pytest
from nbformat.v4 import new_code_cell, new_output

from course_lib.book import cells, prose
from course_lib.book.cells import SETUP_CELL
from course_lib.book.checks import check
from course_lib.book.pages import BookError
from course_lib.book.pairing import sync

SETUP = (":tags: [remove-cell]", SETUP_CELL)
FIGURE = """
---
mystnb:
  image: {alt: A line that rises}
  figure: {caption: The loss rises.}
tags: [hide-input]
---
"""
EXERCISES = "\n\n".join(
    f"```{{exercise}}\n:label: ex-{n}\nDo it.\n```\n\n:::{{solution}} ex-{n}\nSo.\n:::" for n in (1, 2, 3)
)


@pytest.fixture
def chapter(book):
    """A sound book with one chapter; writes it again with other cells or prose, in step unless told."""

    def write(*code, prose=EXERCISES, in_step=True, setup=SETUP):
        page = book.write("01_a", setup, *(code or ["print(1)"]), prose=prose)
        if in_step:
            sync([page], printing)
        return book

    book.contents("01_a")
    return write


def printing(pages):
    found = {}
    for page in pages:
        notebook = page.notebook.copy()
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = [new_output("stream", name="stdout", text="1\n")]
        found[page] = notebook
    return found


def the_problem(book, names=()):
    problems = check(book.root, names)
    assert len(problems) == 1, [str(problem) for problem in problems]
    return str(problems[0])


def edit(book, change):
    path = book.root / "chapters" / "01_a.ipynb"
    notebook = json.loads(path.read_text())
    change(notebook["cells"])
    path.write_text(json.dumps(notebook))


def test_a_sound_book_has_no_problem(chapter):
    """Catches: a rule that hits what is right; the other tests then count one problem too many."""
    plot = (FIGURE, "from course_lib import plots\nplots.lines({})")
    assert [str(p) for p in check(chapter("print(1)", plot).root)] == []


# --- pairs ------------------------------------------------------------------------------------------


def test_missing_pair(chapter):
    book = chapter(in_step=False)
    assert the_problem(book) == "chapters/01_a.ipynb: the notebook is missing → course book sync 01_a"


def test_orphan_notebook(chapter):
    book = chapter()
    (book.root / "chapters" / "old.ipynb").write_text("{}")
    assert the_problem(book).startswith("chapters/old.ipynb: no old.md")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c[3].update(source="print(2)"), "cell 4: differs from the source"),
        (lambda c: c.insert(2, c.pop(3)), "cell 3: the cells are in another order"),
        (lambda c: c[2]["metadata"].update(tags=["hide-input"]), "cell 3: tags ['hide-input'], but"),
        (lambda c: c[0].update(metadata={"x": 1}), "cell 1: its options differ"),
        (lambda c: c[2].update(id="abc"), "cell 3: its id"),
        (lambda c: c[2].update(outputs=[]), "cell 3: tagged nbval-check-output, but it has no output"),
        (lambda c: c[2].update(execution_count=None), "cell 3: its execution_count is null"),
        (lambda c: c[1].update(execution_count=7), "cell 2: an output in a cell without the tag"),
        (lambda c: c.pop(), "the notebook has 3 cells, its source 4"),
        (lambda c: c.append(c[0]), "the notebook has 5 cells, its source 4"),
    ],
)
def test_hand_edited_notebook(chapter, change, says):
    """Acceptance 4: edited source, order, tags, ids, and outputs that nbval would not compare."""
    book = chapter("print(1)", "print(3)")
    edit(book, change)
    found = [str(problem) for problem in check(book.root)]
    assert any(re.match(rf"chapters/01_a.ipynb:( {re.escape(says)}| cell \d: {re.escape(says)})", f) for f in found)
    assert all("course book sync 01_a" in f or "print what" in f for f in found)


def test_a_cell_of_another_kind(chapter):
    book = chapter("print(1)")

    def to_markdown(cells):
        cells[2] = {"cell_type": "markdown", "id": cells[2]["id"], "metadata": {}, "source": ["print(1)"]}

    edit(book, to_markdown)
    assert "cell 3: a markdown cell, but code in the source" in the_problem(book)


@pytest.mark.parametrize(
    "output",
    [
        {"output_type": "display_data", "metadata": {}, "data": {"text/plain": "x", "image/png": "iVBO"}},
        {"output_type": "error", "ename": "E", "evalue": "", "traceback": []},
    ],
)
def test_output_that_is_no_text(chapter, output):
    book = chapter("print(1)")
    edit(book, lambda c: c[2].update(outputs=[output]))
    assert "cell 3: an output that is not text" in the_problem(book)


# --- the page and the book --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# Second\n\n" + EXERCISES, "01_a.md:15: cell 1: a second title"),
        (EXERCISES.replace("ex-3", "ex-4", 1), "exercise ex-4 has no solution → add ```{solution} ex-4"),
        (EXERCISES.replace(":label: ex-3\n", ""), "an exercise without a label"),
        (EXERCISES.split("```{exercise}\n:label: ex-3")[0], "2 exercises → a chapter has 3 to 5"),
        (EXERCISES + "\n\nThe loss is 0.31 now.", "the number 0.31 is typed"),
        (EXERCISES + "\n\nThis is amazing.", "the word “amazing”"),
    ],
)
def test_page_rules(chapter, text, says):
    assert says in the_problem(chapter(prose=text))


def test_no_title(book):
    (book.root / "chapters" / "index.md").write_text("Hello.\n\n```python\n# no title\n```\n")
    assert "chapters/index.md: no title" in the_problem(book)


def test_the_contents_and_the_files_agree(book):
    """Catches: a chapter that nobody can reach, and an entry that leads nowhere."""
    book.contents("01_gone", "02_here")
    book.raw("02_here", "# Here\n")
    book.raw("03_forgotten", "# There\n")
    toc = book.root / "_toc.yml"
    toc.write_text(toc.read_text().replace("02_here.md", "02_here"))
    found = [str(problem) for problem in check(book.root) if problem.file == "_toc.yml"]
    assert [text.split(" → ")[0] for text in found] == [
        "_toc.yml: chapters/01_gone.md does not exist",
        "_toc.yml: chapters/02_here has no ending",
        "_toc.yml: chapters/03_forgotten.md is not listed",
    ]


def test_setup_cell_installs_from_the_books_repository(chapter):
    book = chapter()
    book.config(url="https://github.com/another/course")
    assert "is not the one that SETUP_CELL installs" in the_problem(book)


def test_unknown_chapter_and_unreadable_page(chapter):
    book = chapter()
    with pytest.raises(BookError, match=r"no chapter is called '01_b' → did you mean '01_a'\?"):
        check(book.root, ["01_b"])
    assert check(book.root, ["chapters/01_a.md"]) == check(book.root, ["01_a.ipynb"]) == []
    book.raw("01_a", book.page("01_a").text.replace(":tags: [remove-cell]", ":tags: [remove-cell"))
    assert "01_a.md: " in the_problem(book)


# --- code -------------------------------------------------------------------------------------------

IMPORTS = "import torch, time, random, os\nimport numpy as np\nfrom datetime import datetime\n"


def code_problems(source, options=None):
    setup = new_code_cell(SETUP_CELL, metadata={"tags": ["remove-cell"]})
    both = [setup, new_code_cell(source, metadata=options or {})]
    return [f"{what} → {remedy}" for _, what, remedy in cells.problems(both)]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = 1\n" * 16, "19 lines"),
        ("x = 1\nname = '" + "a" * 81 + "'", "line 5 has 90 characters"),
        ("x = ", "not Python"),
        ("%pip install x", "magic"),
        ("!ls", "magic"),
        ("x = !ls", "magic"),
        ("%%time\nx = 1", "magic"),
        ("os.system('ls')", "os.system"),
        ("from urllib.request import urlopen as go\ngo('http://x')", "urllib.request.urlopen"),
        ("from course_lib.data import fetch\nfetch('mnist')", "course_lib.data.fetch"),
        ("load(download=True)", "download="),
        ("time.time()", "time.time differs"),
        ("from time import perf_counter as now\nnow()", "time.perf_counter"),
        ("datetime.now()", "datetime.datetime.now"),
        ("torch.manual_seed(0)", "torch.manual_seed uses the global state"),
        ("np.random.seed(0)", "numpy.random.seed"),
        ("np.random.rand(3)", "numpy.random.rand"),
        ("np.random.default_rng()", "without a seed"),
        ("random.random()", "random.random"),
        ("torch.randn(3)", "torch.randn draws without generator="),
        ("torch.randperm(3, device='cpu')", "torch.randperm"),
        ("w = torch.empty(3)\nw.normal_()", "normal_ draws"),
        ("torch.empty(3).uniform_(0, 1)", "uniform_ draws"),
        ("from torch.nn import init\ninit.normal_(w)", "torch.nn.init.normal_"),
        ("from torch.utils.data import DataLoader\nDataLoader(d, shuffle=True)", "DataLoader"),
        ("for a, b in zip(x, y): pass", "zip without strict"),
        ("open('/home/me/x')", "absolute path"),
        ("open('~/x')", "absolute path"),
    ],
)
def test_code_rules(source, says):
    found = code_problems(source if source.startswith("%%") else IMPORTS + source)
    assert len(found) == 1, found
    assert says in found[0]


@pytest.mark.parametrize(
    "source",
    [
        "x = 1\n" * 12,
        "g = torch.Generator().manual_seed(0)\ntorch.randn(3, generator=g)",
        "rng = np.random.default_rng(0)\nrng.random(3)\nrng.multinomial(3, [0.5, 0.5])",
        "w = torch.empty(3).normal_(generator=g)",
        "torch.rand(3, **options)",
        "list(zip(x, y, strict=True))",
        "label = '/ n'\nname = 'a/b'\ntitle = 'loss / step'",
        "time.sleep(0)\nrandom_state = draw.random()",
        "DataLoader(d, shuffle=True, generator=g)\nDataLoader(d, shuffle=False)",
    ],
)
def test_code_rules_leave_good_code_alone(source):
    assert code_problems(IMPORTS + source) == []


@pytest.mark.parametrize(
    ("source", "tags", "says"),
    [
        ("x = 1", ["remove-cell"], "the first code cell is not the set-up cell"),
        (SETUP_CELL.replace("-q ", ""), ["remove-cell"], "the first code cell is not the set-up cell"),
        (SETUP_CELL, [], "the set-up cell is shown"),
    ],
)
def test_setup_cell(source, tags, says):
    found = [what for _, what, _ in cells.problems([new_code_cell(source, metadata={"tags": tags})])]
    assert found[0] == says


@pytest.mark.parametrize(
    "imports",
    ["from course_lib import plots", "import course_lib.plots as plots", "from course_lib.plots import lines"],
)
def test_figures_need_words_and_hidden_code(imports):
    call = "\nlines({})" if imports.endswith("lines") else "\nplots.lines({})"
    good = {
        "mystnb": {"image": {"alt": "A line"}, "figure": {"caption": "A caption"}},
        "tags": ["remove-input"],
    }
    assert code_problems(imports + call, good) == []
    found = code_problems(imports + call, {"mystnb": {"image": {"alt": " "}}, "tags": ["hide-output"]})
    assert [text.split(" → ")[0] for text in found] == [
        "a figure without alternative text",
        "a figure without a caption",
        "the code of a figure is shown",
    ]


# --- prose ------------------------------------------------------------------------------------------


def said(text, numbers=True):
    return [(line, what) for line, what, _ in prose.problems(text, numbers)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a\nThe test error is 3.2 now.", [(2, "the number 3.2 is typed into the text")]),
        ("It reaches 98 % here.", [(1, "the number 98 % is typed into the text")]),
        ("It reaches 98.5% here.", [(1, "the number 98.5% is typed into the text")]),
        ("```{note}\n:class: tip\nWith 0.5 it works.\n```", [(3, "the number 0.5 is typed into the text")]),
        (":::{exercise}\n:label: a\n\nTake 0.5 of it.\n:::", [(4, "the number 0.5 is typed into the text")]),
        ("---\nx: 0.5\n---\n\nOf 0.25 here.", [(5, "the number 0.25 is typed into the text")]),
        ("<!-- number: the paper's -->\nIt was 0.5.\n\nIt is 0.6.", [(4, "the number 0.6 is typed into the text")]),
        ("It is simply so.", [(1, "the word “simply”")]),
        ("# A powerful title", [(1, "the word “powerful”")]),
        ("We leverage it.", [(1, "the word “We leverage”")]),
        ("You can just call it.", [(1, "the word “can just call”")]),
    ],
)
def test_prose_rules(text, found):
    assert said(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "In `x = 0.5` and $\\eta = 0.1$ and\n$$\n0.3\n$$\nare settings.",
        "## Dropout of 0.5",
        "| a | 0.5 |\n|---|---|\n| b | 98 % |",
        "See [0.5 of it](x0.5.html), {cite:p}`a0.5` and https://x.org/1.5/.",
        "```{code-cell}\nx = 0.5  # simply\n```",
        "```python\nx = 0.5\n```",
        "```{list-table}\n* - 0.5\n```",
        "The error is {glue:text}`error`, not 0.5.",
        "<!-- number: as in the paper -->\nThey report 0.5\nand 98 %.",
        "With PyTorch 2.13 and Python 3.11, see section 3.2 (Figure 1.2), CC BY 4.0.",
        "There are 64 inputs, 1,797 images and 3 layers since 2015.",
        "A simply connected region; the most powerful test; the leverage of a point; just before it.",
        "```{figure} x.png\n:alt: 0.5\n```",
    ],
)
def test_prose_rules_leave_good_text_alone(text):
    assert said(text) == []


def test_pages_without_code_may_hold_numbers():
    """Catches: the errata, which quote the lectures, reported for every number."""
    assert said("They say 0.5.", numbers=False) == []
