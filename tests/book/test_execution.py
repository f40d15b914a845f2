"""Execution with real kernels: side by side, kept, keyed, and clear when something fails."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from course_lib.book import execution
from course_lib.book.execution import cache_folder, current_runs, execute, executed_notebooks
from course_lib.book.pages import BookError, Page


def names(pages):
    return sorted(page.name for page in pages)


def printed(root, page):
    notebook = executed_notebooks(root, [page])[page]
    return "".join(output.text for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs)


def test_chapters_run_at_the_same_time(book):
    """Catches: one after another. Each waits until the other has begun, so a slow machine changes nothing."""
    meet = """
        import pathlib, time
        pathlib.Path({own!r}).touch()
        while not pathlib.Path({other!r}).exists():
            time.sleep(0.01)
    """
    files = [str(book.root / "first"), str(book.root / "second")]
    book.write("01_a", meet.format(own=files[0], other=files[1]))
    book.write("02_b", meet.format(own=files[1], other=files[0]))
    done, failures = execute(book.root, book.pages, workers=2, timeout=120)
    assert (names(done), failures) == (["01_a", "02_b"], [])


def test_only_what_an_edit_touches_runs_again(book):
    """Catches: a key without the library, one that is not transitive, one that holds the prose."""
    book.module("a", "from course_lib.b import value")
    book.module("b", "value = 1")
    book.write("01_uses", "import course_lib.a; print(course_lib.a.value)")
    book.write("02_not", "print(2)")

    def run():
        return names(execute(book.root, book.pages)[0])

    assert run() == ["01_uses", "02_not"]
    assert run() == []
    book.write("02_not", "print(2)", prose="Other words.")
    assert run() == []
    book.module("b", "value = 5")
    assert run() == ["01_uses"]
    assert printed(book.root, book.page("01_uses")) == "5\n"
    book.write("02_not", "print(3)")
    assert run() == ["02_not"]
    # Other tags do not make it run; the builder, which looks a run up by them too, finds it all the same.
    book.write("02_not", (":tags: [hide-input]", "print(3)"))
    assert run() == []
    with execution._open_cache(book.root) as cache:
        assert cache.match_cache_notebook(book.page("02_not").notebook)


def test_environment_of_a_kernel(book, monkeypatch):
    """Catches: kernels that take all cores each, another Python, a drawing backend without pictures."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    page = book.write(
        "sub/01_a",
        "import os, sys; print(os.environ['OMP_NUM_THREADS'], os.environ['MPLBACKEND'], sys.executable, os.getcwd())",
    )
    assert execute(book.root, [page])[1] == []
    folder = book.root / "chapters" / "sub"
    expected = ["1", "module://matplotlib_inline.backend_inline", sys.executable, str(folder)]
    assert printed(book.root, page).split() == expected


def test_a_failing_cell_is_shown_and_the_others_finish(book, capsys):
    """Catches: a failure that stops the rest, is cached, or does not say where it is."""
    book.write("01_bad", "x = 1", "def f():\n    return x / 0\nf()")
    book.write("02_good", "print(1)")
    done, [failure] = execute(book.root, book.pages, workers=1)
    assert names(done) == ["02_good"]
    assert "chapters/01_bad.md:22: cell 3 failed\n    def f():\n        return x / 0\n    f()" in failure.text
    assert "ZeroDivisionError: division by zero" in failure.text
    assert "\x1b" not in failure.text
    assert "01_bad: FAILED" in capsys.readouterr().err
    with pytest.raises(BookError, match="ZeroDivisionError"):
        current_runs([book.page("01_bad")])


def test_a_dead_kernel(book):
    """Catches: waiting for ever, and a message without what the kernel wrote last."""
    book.write("01_dead", "import os; os.write(2, b'last words'); os._exit(1)")
    done, [failure] = execute(book.root, book.pages)
    assert done == []
    assert "cell 2 failed" in failure.text
    assert "the kernel died" in failure.text
    assert "last words" in failure.text


def test_a_slow_chapter(book):
    """Catches: a limit for each cell where one for the chapter is meant, and a message that hides the cause."""
    book.write("01_slow", *["import time; time.sleep(1.5)"] * 4)
    done, [failure] = execute(book.root, book.pages, timeout=4)
    assert done == []
    assert "the chapter took longer than 4 s" in failure.text


def test_ctrl_c_keeps_what_is_finished_and_ends_the_kernels(book):
    """Catches: a finished chapter that is lost, and a kernel that goes on. Interrupts a real process."""
    book.write("01_done", "print(1)")
    pid = book.root / "pid"
    book.write("02_long", f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid()))", "time.sleep(120)")
    code = "import sys; from course_lib.cli import main; sys.exit(main(['book', 'execute', '--workers', '2']))"
    command = subprocess.Popen(
        [sys.executable, "-P", "-c", code], cwd=book.root, env=_with_library(), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (pid.exists() and pid.read_text() and _stored(book)):
        time.sleep(0.05)
    command.send_signal(signal.SIGINT)
    _, messages = command.communicate(timeout=30)
    assert command.returncode == 130, messages
    assert "interrupted" in messages
    assert "Traceback" not in messages
    assert not psutil.pid_exists(int(pid.read_text())) or _gone(int(pid.read_text()))
    done, _ = execute(book.root, [book.page("01_done")])
    assert done == []  # it was kept


def _with_library():
    root = Path(__file__).parents[2]
    return os.environ | {"PYTHONPATH": str(root)}


def _stored(book):
    return any((cache_folder(book.root) / "executed").glob("*/base.ipynb"))


def _gone(pid):
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_longest_first(book, monkeypatch):
    """Catches: the longest chapter begun last, so that one worker runs on alone. Runs that only claim a time."""

    @dataclass
    class Claimed:
        page: Page
        timeout: float
        running = False

        def __call__(self):
            begun.append(self.page.name)
            self.notebook = self.page.notebook
            self.seconds = {"01_short": 1, "02_long": 9, "03_new": 2}[self.page.name]

    monkeypatch.setattr(execution, "Run", Claimed)
    for code, order in (("1", ["01_short", "02_long"]), ("2", ["03_new", "02_long", "01_short"])):
        begun = []
        for name in order:
            book.write(name, f"{name!r}, {code}")
        execute(book.root, book.pages, workers=1)
        assert begun == order


def test_excluded_pages_do_not_run(book):
    """Catches: a student's notebook, with its gaps, that stops the book."""
    page = book.write("homework/hw01", "raise NotImplementedError")
    book.config(exclude_patterns="[chapters/homework/*]")
    assert execute(book.root, [page]) == ([], [])
    with pytest.raises(BookError, match=r"hw01.md: no current run → .*excludes it"):
        current_runs([page])


def test_a_cache_that_cannot_be_written(book):
    """Catches: a traceback of sqlite. A file lies where the folder should be: that stops root, too."""
    (book.root / "_build").write_text("")
    with pytest.raises(BookError, match=r"cache folder .*_build/.jupyter_cache cannot be written \(.+\) →"):
        execute(book.root, [book.write("01_a", "1")])


def test_a_damaged_cache(book):
    """Catches: a traceback of sqlite where `make clean` helps."""
    cache_folder(book.root).mkdir(parents=True)
    (cache_folder(book.root) / "global.db").write_text("this is no database, " * 100)
    with pytest.raises(BookError, match="make clean"):
        execute(book.root, [book.write("01_a", "1")])


def test_a_page_without_header(book):
    """Catches: code cells that neither the book nor Jupyter would run."""
    page = book.raw("01_a", "# A\n\n```{code-cell}\n1\n```\n")
    assert isinstance(page, Page)
    with pytest.raises(BookError, match=r"01_a.md: code cells but no jupytext header"):
        execute(book.root, [page])


def test_two_processes_do_not_write_to_the_cache_at_once(book):
    """Catches: `make serve` and `course book sync` storing the same run, where one ended in FileExistsError."""
    ran = book.root / "ran"
    pages = [book.write("01_a", f"import pathlib; pathlib.Path({str(ran)!r}).touch(); print(1)")]
    cache_folder(book.root).mkdir(parents=True)
    with execution.alone(book.root, "cache"):
        thread = threading.Thread(target=execute, args=(book.root, pages))
        thread.start()
        while not ran.exists():
            time.sleep(0.01)
        thread.join(timeout=3)
        assert thread.is_alive()
        assert executed_notebooks(book.root, pages) == {}
    thread.join(timeout=60)
    assert names(executed_notebooks(book.root, pages)) == ["01_a"]


def test_a_run_that_was_half_written_is_written_again(book):
    """Catches: the folder that a killed process left, on which every later run failed."""
    page = book.write("01_a", "print(1)")
    execute(book.root, [page])
    with execution._open_cache(book.root) as cache:
        (record,) = cache.list_cache_records()
        file = cache._get_notebook_path_cache(record.hashkey)
    file.unlink()
    assert names(execute(book.root, [page])[0]) == ["01_a"]
    assert file.is_file()
