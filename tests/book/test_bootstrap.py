"""Setting up: each thing that can be missing gives one line that says what to do, and status 1."""

import ast
import collections
import sys
from pathlib import Path

import pytest

from course_lib import bootstrap

NETWORK = "ERROR: Could not find a version that satisfies the requirement torch==1 (from versions: none)"
FULL = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "requirements.txt").write_text("torch==1\n")
    (tmp_path / "pyproject.toml").write_text("")
    return tmp_path


def fake_pip(root, says, status):
    """A .venv whose python prints `says` for pip install, and whose other calls work."""
    folder = root / ".venv" / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "python"
    lines = ["#!/bin/sh", f'echo "$@" >> {root}/calls', '[ "$1" = -c ] && exit 0', f"echo '{says}'", f"exit {status}"]
    python.write_text("\n".join(lines) + "\n")
    python.chmod(0o755)


def one_line(capsys):
    message = capsys.readouterr().err
    assert message.count("\n") == 1, message
    assert message.startswith("setup: ")
    return message


def test_old_python_and_none_better(root, monkeypatch, capsys):
    """Catches: a syntax error or a strange failure of pip on Debian's old Python."""
    monkeypatch.setattr(sys, "version_info", (3, 9))
    monkeypatch.setenv("PATH", "")
    assert bootstrap.main(str(root)) == 1
    message = one_line(capsys)
    assert "Python 3.11 or newer is needed" in message
    assert "is Python 3.9" in message
    assert "make PYTHON=" in message
    assert not (root / ".venv").exists()


def test_old_python_and_a_better_one_on_the_path(root, tmp_path, monkeypatch, capsys):
    """Catches: giving up although python3.12 is there, and taking a stub that does not run."""
    monkeypatch.setattr(sys, "version_info", (3, 9))
    found = tmp_path / "bin"
    found.mkdir()
    for name, status in (("python3.13", 1), ("python3.12", 0)):
        (found / name).write_text(f"#!/bin/sh\nexit {status}\n")
        (found / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(found))
    assert bootstrap._choose_python() == str(found / "python3.12")
    assert "too old: taking" in capsys.readouterr().out


def test_no_venv_module(root, monkeypatch, capsys):
    """Catches: Debian's long message about ensurepip in place of the package's name."""
    monkeypatch.setattr(bootstrap, "_works", lambda python, code: False)
    assert bootstrap.main(str(root)) == 1
    assert f"sudo apt install python3.{sys.version_info[1]}-venv" in one_line(capsys)


def test_no_space_before_the_start(root, monkeypatch, capsys):
    """Catches: filling the disk first and failing then."""
    usage = collections.namedtuple("usage", "total used free")(1, 1, 4 * 10**8)
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda path: usage)
    assert bootstrap.main(str(root)) == 1
    message = one_line(capsys)
    assert "3 GB of free disk space are needed, there are 0.4 GB" in message


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (NETWORK, "pip cannot reach the package index: connect to the network, then run it again"),
        (FULL, "the disk is full: free 3 GB, then run it again"),
        ("ERROR: torch is odd", "pip failed (ERROR: torch is odd): see"),
        ("", "pip failed (no reason given): see"),
    ],
)
def test_pip_fails_and_a_rerun_goes_on(root, capsys, says, expected):
    """Catches: pages of pip's output, a stamp after a failure, and a .venv made anew each time."""
    fake_pip(root, says, 1)
    assert bootstrap.main(str(root)) == 1
    assert expected in one_line(capsys)
    fake_pip(root, "done", 0)
    assert bootstrap.main(str(root)) == 0
    calls = (root / "calls").read_text()
    assert "venv" not in calls
    assert "--no-deps -e ." in calls


def test_a_second_call_does_nothing_until_something_changes(root, capsys):
    """Catches: pip asked again at every `make`, and new requirements that are overlooked."""
    fake_pip(root, "done", 0)
    assert bootstrap.main(str(root)) == 0
    (root / "calls").unlink()
    capsys.readouterr()
    assert bootstrap.main(str(root)) == 0
    assert capsys.readouterr() == ("", "")
    assert not (root / "calls").exists()
    (root / "requirements.txt").write_text("torch==2\n")
    assert bootstrap.main(str(root)) == 0
    assert "-r requirements.txt" in (root / "calls").read_text()


def test_a_python_that_is_gone_counts_as_not_set_up(root, monkeypatch, capsys):
    """Catches: a stamp that is believed although the system's Python went away below .venv."""
    fake_pip(root, "done", 0)
    assert bootstrap.main(str(root)) == 0
    (root / ".venv" / "bin" / "python").unlink()
    (root / ".venv" / "bin" / "python").symlink_to("/nowhere/python")

    def none():
        raise bootstrap.SetupError("a Python is needed")

    monkeypatch.setattr(bootstrap, "_choose_python", none)
    assert bootstrap.main(str(root)) == 1
    assert "a Python is needed" in one_line(capsys)


def test_nbgrader_goes_beside_a_venv_that_is_set_up(root, capsys):
    """Catches: an environment that finds neither torch nor course_lib, and nbgrader asked for without its pins."""
    assert bootstrap.main(str(root), "nbgrader") == 1
    assert ".venv is not set up: run `make install` first" in one_line(capsys)
    fake_pip(root, "done", 0)
    (root / ".venv").rename(root / ".venv-nbgrader")
    python = root / ".venv-nbgrader" / "bin" / "python"
    packages = root / "packages"
    packages.mkdir()
    python.write_text(python.read_text().replace("exit 0", f"{{ echo {packages}; exit 0; }}"))
    fake_pip(root, "done", 0)
    assert bootstrap.main(str(root), "nbgrader") == 0
    assert "site.addsitedir(" in (packages / "course.pth").read_text()
    assert f"--constraint requirements.txt {bootstrap.NBGRADER}" in (root / "calls").read_text()
    assert "-m venv" in (root / "calls").read_text(), "the two had other Pythons: it is made anew"


def test_old_pythons_can_read_it():
    """Catches: syntax that Python 3.6 refuses, so that it could not say that it is too old."""
    source = Path(bootstrap.__file__).read_text()
    ast.parse(source, feature_version=(3, 6))
    imported = {
        name.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import) for name in node.names
    }
    assert imported <= {"hashlib", "os", "shutil", "subprocess", "sys"}
