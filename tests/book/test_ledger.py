"""The ledger: claims are found in the sources and their records in the notebooks; what does not fit is reported."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from course_lib.book import ledger
from course_lib.book.cells import SETUP_CELL
from course_lib.book.checks import check
from course_lib.book.execution import current_runs
from course_lib.book.pages import BookError
from course_lib.book.pairing import read_pair, sync
from course_lib.claims import Claim, Design
from course_lib.cli import main

ROOT = Path(__file__).parents[2]
RECORD_TAGS = ":tags: [remove-cell, nbval-check-output]"


def record(name="a-claim", effect=0.1, sentence="So it is."):
    """A real record, whose effect is 0.1 or so."""
    design = Design("toy", "arm", ("one", "two"), "loss", "less", 0.02, "nats", range(16))
    rows = [
        (arm, s, effect * (arm == "two") + 0.01 * (s % 3) * (arm == "one")) for s in range(16) for arm in ("one", "two")
    ]
    verdict = Claim(name, sentence, "lecture A", design).judge(pd.DataFrame(rows, columns=["arm", "seed", "loss"]))
    return verdict.record


def declares(name="a-claim"):
    return ("", f"Claim = dict\nclaim = Claim(\n    id={name!r}\n)")


def prints(*records):
    """A cell that prints records; they lie in a file beside it, as a cell has no lines that long."""
    return (RECORD_TAGS, "\n".join(f"print(open({name!r}).read(), end='')" for name in records))


@pytest.fixture
def chapter(book):
    """Writes a chapter with cells, and its notebook from a real run; records are files that its cells print."""

    def write(*cells, name="01_a", records=None):
        for file, text in records or [("a.json", record())]:
            (book.root / "chapters" / file).write_text(text + "\n")
        page = book.write(name, (":tags: [remove-cell]", SETUP_CELL), *cells, prose="Text.")
        sync([page], current_runs)
        return page

    book.contents("01_a")
    return write


def problems(book, *names):
    return [str(problem) for problem in check(book.root, names or ["01_a"]) if "exercises" not in str(problem)]


# --- reading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "ids"),
    [
        ("Claim(id='a-claim', sentence='…')", ["a-claim"]),
        ("claims.Claim('a-claim', '…')", ["a-claim"]),
        ("Claim('a'); Claim('b')", ["a", "b"]),
        ("Claim(id=name)", [None]),
        ("Claim(id=f'{name}-x')", [None]),
        ("Claim(**settings)", [None]),
        ("Claimant('a'); x = 'Claim(id=1)'  # Claim('b')", []),
        ("Claim(", []),
    ],
)
def test_declared(book, code, ids):
    """Catches: claims found by a search in the text, or ids that nobody can look up."""
    page = book.write("01_a", "print(1)", code)
    assert [name for _, name in ledger.declared(page)] == ids
    assert all(index == 2 for index, _ in ledger.declared(page))


def test_records_and_entries(chapter, book):
    """Catches: a ledger that runs chapters, misses a second record in a cell, or takes other lines for records."""
    page = chapter(
        declares("a-claim"),
        declares("b-claim"),
        (RECORD_TAGS, "print('words')\nprint(open('a.json').read() + open('b.json').read())"),
        declares("not-yet"),
        records=[("a.json", record()), ("b.json", record("b-claim", -0.1))],
    )
    found = ledger.entries(book.pages)
    assert [(entry.id, entry.page, entry.record and entry.record["verdict"]) for entry in found] == [
        ("a-claim", page, "holds"),
        ("b-claim", page, "fails"),
        ("not-yet", page, None),
    ]
    page.pair.unlink()
    assert [entry.record for entry in ledger.entries(book.pages)] == [None] * 3


def test_a_damaged_record(chapter, book):
    chapter(declares(), prints("a.json"), records=[("a.json", record()[:200])])
    with pytest.raises(BookError, match=r"chapters/01_a\.md: a claim's record is damaged: .*claim.* --refresh 01_a"):
        ledger.entries(book.pages)
    assert any("a claim's record is damaged" in problem for problem in problems(book))


# --- rules ------------------------------------------------------------------------------------------


def test_a_sound_chapter(chapter, book):
    chapter(declares(), prints("a.json"))
    assert problems(book) == []


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ([declares()], "chapters/01_a.md:29: cell 3: claim a-claim has 0 records → print(….record) once"),
        ([declares(), prints("a.json", "a.json")], "cell 3: claim a-claim has 2 records"),
        ([declares("another"), prints("a.json")], "01_a.ipynb: cell 4: a record of a-claim, which no cell declares"),
        ([declares(), declares(), prints("a.json")], "cell 3: claim a-claim is declared 2 times → declare it once"),
        ([("", "name = 'a-claim'\nClaim = dict\nClaim(id=name)"), prints("a.json")], "cell 3: a claim whose id is not"),
        ([declares(), (":tags: [nbval-check-output]", prints("a.json")[1])], "cell 4: the record of a-claim is shown"),
    ],
)
def test_claims_without_their_records(chapter, book, cells, says):
    chapter(*cells)
    assert any(says in problem for problem in problems(book)), problems(book)


def test_an_edited_record(chapter, book):
    """Catches: a sentence or a smallest effect that was changed in the committed record alone."""
    page = chapter(declares(), prints("a.json"))
    text = page.pair.read_text()
    page.pair.write_text(text.replace("So it is.", "So it was."))
    assert problems(book) == [
        "chapters/01_a.ipynb: cell 4: the record of a-claim was edited → course book sync --refresh 01_a"
    ]


def test_one_id_in_two_chapters(chapter, book):
    chapter(declares(), prints("a.json"))
    chapter(declares(), prints("a.json"), name="02_b")
    book.contents("01_a", "02_b")
    found = [str(problem) for problem in check(book.root) if "exercises" not in str(problem)]
    assert len(found) == 1
    assert found[0].startswith("chapters/02_b.md:29: cell 3: claim a-claim is declared in chapters/01_a.md too → ")


# --- the command ------------------------------------------------------------------------------------


def test_list_and_show(chapter, book, monkeypatch, capsys):
    """Catches: a list that needs a run (none is there), and a table whose columns do not align."""
    monkeypatch.chdir(book.root)
    assert main(["claims", "list"]) == 0
    assert capsys.readouterr().out == ""
    chapter(
        declares(), declares("longer-claim"), declares("not-yet"), prints("a.json", "b.json"),
        records=[("a.json", record()), ("b.json", record("longer-claim", -0.1))],
    )  # fmt: skip
    monkeypatch.setattr("course_lib.book.ledger.current_runs", None)
    assert main(["claims", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:33] for line in lines] == [
        "a-claim       01_a  holds      0.",
        "longer-claim  01_a  fails      −0",
        "not-yet       01_a  no record",
    ]
    assert " nats [0.0" in lines[0]
    assert main(["claims", "show", "longer-claim"]) == 0
    shown = capsys.readouterr().out
    for words in (
        "longer-claim: fails",
        "So it is. (lecture A)",
        "one less than two: −0",
        "16 seeds",
        "toy",
        "01_a.md",
    ):
        assert words in shown


def test_unknown_and_missing(chapter, book, monkeypatch, capsys):
    monkeypatch.chdir(book.root)
    chapter(declares(), declares("not-yet"), prints("a.json"))
    capsys.readouterr()
    for command in ("show", "run"):
        assert main(["claims", command, "a-clam"]) == 1
        assert capsys.readouterr().err == "course: no claim is called 'a-clam' → did you mean 'a-claim'?\n"
    assert main(["claims", "show", "xyz"]) == 1
    assert "known: a-claim, not-yet" in capsys.readouterr().err
    assert main(["claims", "show", "not-yet"]) == 1
    assert capsys.readouterr().err == "course: 01_a.ipynb has no record of not-yet → course book sync 01_a\n"


def test_run(chapter, book, monkeypatch, capsys):
    """Catches: status 0 when a verdict or a declaration is not the committed one; a status of 1 for other digits."""
    monkeypatch.chdir(book.root)
    page = chapter(declares(), prints("a.json"))
    assert main(["claims", "run"]) == 0
    assert capsys.readouterr().out.startswith("a-claim  01_a  holds  0.")

    def commit(text):
        """Put another record into the committed notebook; the run stays as it is."""
        notebook = json.loads(page.pair.read_text())
        notebook["cells"][-1]["outputs"] = [{"name": "stdout", "output_type": "stream", "text": [text + "\n"]}]
        page.pair.write_text(json.dumps(notebook))

    commit(record(effect=0.1001))
    assert main(["claims", "run", "a-claim"]) == 0
    capsys.readouterr()
    commit(record(effect=-0.1))
    assert main(["claims", "run", "a-claim"]) == 1
    assert capsys.readouterr().err == (
        "course: a-claim: the verdict was fails and is holds → look why, then: course book sync --refresh 01_a\n"
    )
    commit(record(sentence="So it was."))
    assert main(["claims", "run"]) == 1
    assert "a-claim: the record is of another declaration than the source's →" in capsys.readouterr().err
    commit("nothing")
    assert main(["claims", "run"]) == 1
    assert "a-claim: the notebook has no record of it → course book sync 01_a" in capsys.readouterr().err


def test_run_of_a_chapter_that_prints_no_record_or_fails(chapter, book, monkeypatch, capsys):
    monkeypatch.chdir(book.root)
    chapter(declares())
    assert main(["claims", "run"]) == 1
    assert "a-claim: chapters/01_a.md declares it and prints no record → print(….record)" in capsys.readouterr().err
    book.write("01_a", declares(), "1 / 0")
    assert main(["claims", "run"]) == 1
    assert "1 / 0" in capsys.readouterr().err


def test_nbval_compares_verdicts_and_not_last_digits(chapter, book):
    """Real nbval with the project's own setting. Catches: a setting that hides the verdict, or nothing."""
    page = chapter(declares(), prints("a.json"))
    (option,) = [word for word in (ROOT / "pyproject.toml").read_text().split('"') if "--nbval-lax" in word]
    options = [word.replace("=tests/", f"={ROOT}/tests/") for word in option.split() if "nbval" in word]
    assert any("sanitize" in word for word in options)

    def nbval(text):
        (book.root / "chapters" / "a.json").write_text(text + "\n")
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, "-q", str(page.pair)]
        return subprocess.run(command, cwd=book.root, capture_output=True, text=True)

    assert read_pair(page).cells[-1].outputs[0].text == record() + "\n"
    other_digits = record(effect=0.1001)
    assert other_digits != record()
    for text, status in ((record(), 0), (other_digits, 0), (record(effect=-0.1), 1), (record(sentence="No."), 1)):
        done = nbval(text)
        assert done.returncode == status, done.stdout
