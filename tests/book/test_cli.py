"""The command `course`: statuses and messages."""

import subprocess
import sys

import pytest

from course_lib.book.pages import BookError, find_root, select
from course_lib.cli import main


def test_unknown_chapter_names_the_nearest(book, monkeypatch, capsys):
    """Catches: a traceback, status 0, or work on all chapters when a name is misspelt."""
    book.write("03_backpropagation", "1")
    monkeypatch.chdir(book.root / "chapters")
    for command in ("sync", "check", "execute"):
        assert main(["book", command, "03_backprop"]) == 1
        message = "course: no chapter is called '03_backprop' → did you mean '03_backpropagation'?\n"
        assert capsys.readouterr().err == message


@pytest.mark.parametrize("name", ["03_b", "chapters/03_b.md", "./chapters/03_b.ipynb", "hw01", "homework/hw01"])
def test_names_of_a_chapter(book, name):
    """Catches: what the shell completes, chapters/03_b.md, taken for unknown."""
    book.write("03_b", "1")
    book.write("homework/hw01", "1")
    assert [page.path.stem for page in select(book.pages, [name])] == [name.split("/")[-1].split(".")[0]]


def test_check_and_sync_and_execute(book, monkeypatch, capsys):
    """Catches: status 0 with problems at hand, and a sync that does not say what it wrote."""
    monkeypatch.chdir(book.root)
    book.contents("01_a")
    book.write("01_a", "print(1)")
    assert main(["book", "check"]) == 1
    assert "chapters/01_a.ipynb: the notebook is missing → course book sync 01_a\n" in capsys.readouterr().out
    assert main(["book", "sync"]) == 0
    assert capsys.readouterr().out == "wrote chapters/01_a.ipynb\n"
    assert main(["book", "execute"]) == 0  # by sync already
    assert capsys.readouterr() == ("", "")
    book.write("01_a", "1 / 0")
    assert main(["book", "execute"]) == 1
    assert "chapters/01_a.md:17: cell 2 failed\n    1 / 0\n" in capsys.readouterr().err


def test_outside_a_book(tmp_path, monkeypatch, capsys):
    """Catches: a command that walks up to / and then fails in a strange way."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BookError, match=r"no _config\.yml"):
        find_root()
    assert main(["book", "check"]) == 1
    assert "no _config.yml in" in capsys.readouterr().err


def test_our_own_mistakes_keep_their_traceback(book, monkeypatch):
    """Catches: a bug in the tools that is shown as if the reader had made it."""
    monkeypatch.chdir(book.root)
    monkeypatch.setattr("course_lib.book.checks.check", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["book", "check"])


def test_ctrl_c(book, monkeypatch, capsys):
    """Catches: a traceback for the person who pressed Ctrl-C."""

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.chdir(book.root)
    monkeypatch.setattr("course_lib.book.checks.check", interrupt)
    assert main(["book", "check"]) == 130
    assert capsys.readouterr().err == "course: interrupted\n"


def test_data(monkeypatch, capsys):
    """Catches: a list without the sets, and a traceback for an unknown name or no network."""
    from course_lib import data

    assert main(["data", "list"]) == 0
    assert "digits" in capsys.readouterr().out.split()
    assert main(["data", "fetch", "mnits"]) == 1
    assert "mnist" in capsys.readouterr().err

    def offline(name, force):
        asked.append((name, force))
        raise ConnectionError("offline: go online")

    asked = []
    monkeypatch.setattr(data, "fetch", offline, raising=False)
    assert main(["data", "fetch", "mnist"]) == 1
    assert capsys.readouterr().err == "course: offline: go online\n"
    main(["data", "fetch", "mnist", "--force"])
    assert asked == [("mnist", False), ("mnist", True)]


def test_help_is_quick():
    """Catches: an import of torch or of the book's tools at the top of the command line."""
    code = "import sys\ntry:\n    import course_lib.cli; course_lib.cli.main(['--help'])\nexcept SystemExit:\n    "
    code += "sys.exit(bool({'torch', 'numpy', 'nbformat', 'jupytext'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize("arguments", [["nothing"], ["book", "bake"], ["claims", "show"]])
def test_wrong_usage(arguments, capsys):
    """Catches: status 0, or no word of what was expected."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: course" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["book"], ["claims"], ["homework"]])
def test_without_a_command_it_says_what_there_is(words, capsys):
    """Catches: an error about arguments where help was wanted; status 0 for a script that forgot the command."""
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert " ".join(["usage: course", *words]) in printed.err
    commands = {"": "homework", "book": "build", "claims": "show", "homework": "release"}
    assert f"\n    {commands[' '.join(words)]} " in printed.err
