"""Building and serving a scratch book with the real jupyter-book."""

import socket
import subprocess
import threading
import time
import urllib.request

import pytest

from course_lib.book import build as build_module
from course_lib.book import serve as serve_module
from course_lib.book.build import build, trim
from course_lib.book.execution import alone, current_runs
from course_lib.book.pages import BookError
from course_lib.book.pairing import sync


def page_text(book, name="01_a"):
    return (book.root / "_build" / "html" / "chapters" / f"{name}.html").read_text()


def test_a_book_is_built_once_and_again_only_where_it_changed(book, monkeypatch, capsys):
    """Catches: a builder that executes again, that shows old outputs, that works without need, that
    rewrites a notebook, or that lets a warning pass."""
    book.module("used", "value = 'first value'")
    code = "import course_lib.used; open('../runs', 'a').write('x'); print(course_lib.used.value)"
    page = book.write("01_a", code)
    book.contents("01_a")
    sync([page], current_runs)
    kept = page.pair.read_bytes()

    index = build(book.root)
    out = capsys.readouterr()
    assert str(index) in out.out
    assert "first value" in page_text(book)
    assert "fontawesome.js" not in page_text(book)
    assert "fa-solid" in page_text(book)  # the icons of the font
    runs = book.root / "runs"
    assert runs.read_text() == "x"  # by sync; neither build nor Sphinx ran it again

    def forbidden(*args, **kwargs):
        raise AssertionError("nothing changed, so nothing is to run")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", forbidden)
        assert build(book.root) == index

    book.module("used", "value = 'second value'")  # the page's source is the same: Sphinx would not see it
    build(book.root)
    assert "second value" in page_text(book)
    assert runs.read_text() == "xx"
    assert page.pair.read_bytes() == kept

    # A warning fails the build, and fails it again although Sphinx has read the page by then.
    book.write("01_a", code, prose="See {ref}`nowhere`.")
    for _ in range(2):
        with pytest.raises(BookError, match="warnings or errors"):
            build(book.root)
        assert "nowhere" in capsys.readouterr().err
    assert runs.read_text() == "xx"


def test_a_failing_chapter_stops_the_build_before_the_site(book, monkeypatch, capsys):
    """Catches: a site with a traceback in it."""
    book.contents("01_a")
    book.write("01_a", "1 / 0")
    monkeypatch.setattr(build_module, "_run_jupyter_book", None)
    with pytest.raises(BookError, match=r"1 chapter\(s\) failed: 01_a"):
        build(book.root)
    messages = capsys.readouterr().err
    assert "ZeroDivisionError" in messages
    assert "no notebook to download for 01_a → course book sync" in messages


def test_without_execution_nothing_runs(book, capsys):
    """Catches: Sphinx that executes, one after another, what --no-execute leaves out."""
    book.contents("01_a")
    book.write("01_a", "open('ran', 'w'); print(6 * 7)")
    build(book.root, run=False)
    assert "print" in page_text(book)
    assert not (book.root / "chapters" / "ran").exists()
    # The stamp of such a site must not stand for a whole one.
    build(book.root)
    assert (book.root / "chapters" / "ran").exists()
    assert ">42" in page_text(book)


def test_configuration_that_would_execute_twice(book):
    """Catches: a _config.yml with which Sphinx runs every chapter itself."""
    book.config(execute_notebooks="force")
    with pytest.raises(BookError, match="execute_notebooks: cache"):
        build(book.root)


def test_trim_takes_out_the_icon_script_only(tmp_path):
    """Catches: a pattern that takes the neighbour too."""
    page = tmp_path / "a.html"
    page.write_text(
        '<script src="a.js"></script>\n<script defer src="x/fontawesome.js?d=1"></script>\n<script>1</script>'
    )
    trim(tmp_path)
    assert page.read_text() == '<script src="a.js"></script>\n<script>1</script>'


def get(port, path="/"):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
        return reply.read().decode()


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_serve_keeps_the_last_good_site(book, monkeypatch, capsys):
    """Catches: a site that vanishes with a failing rebuild, and a change that is not seen."""
    html = book.root / "_build" / "html"
    html.mkdir(parents=True)

    def fake_build(root):
        text = (root / "chapters" / "index.md").read_text()
        (html / "index.html").write_text(text)
        if "broken" in text:
            raise BookError("the site has warnings")
        return html / "index.html"

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(serve_module, "build", fake_build)
    stop = threading.Event()
    thread = threading.Thread(target=serve_module.serve, args=(book.root, port, stop))
    thread.start()
    try:
        source = book.root / "chapters" / "index.md"
        wait_for(lambda: _answers(port) and "# Home" in get(port))
        source.write_text("# New\n")
        wait_for(lambda: "# New" in get(port))
        source.write_text("# broken\n")
        wait_for(lambda: "the last good site stays up" in capsys.readouterr().err)
        assert "# New" in get(port)
    finally:
        stop.set()
        thread.join(timeout=30)
    assert not thread.is_alive()


def _answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_serve_listens_on_this_machine_only_and_says_when_a_port_is_taken(book):
    """Catches: a book offered to the whole network, and a traceback for a taken port."""
    with serve_module._listen(0, book.root) as server:
        assert server.server_address[0] == "127.0.0.1"
        port = server.server_port
        with pytest.raises(BookError, match=f"port {port} is taken → course book serve --port {port + 1}"):
            serve_module.serve(book.root, port)
    with pytest.raises(BookError, match="from 0 to 65535, got 70000"):
        serve_module.serve(book.root, 70000)


def test_a_second_build_waits_for_the_first(book, capsys):
    """Catches: two builds in one folder, where Sphinx ended in a missing searchindex.js.tmp."""
    with alone(book.root):
        thread = threading.Thread(target=build, args=(book.root,))
        thread.start()
        thread.join(timeout=2)
        assert thread.is_alive()
    thread.join(timeout=120)
    assert (book.root / "_build" / "html" / "index.html").is_file()
    assert "waiting for another build" in capsys.readouterr().err
