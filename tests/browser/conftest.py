"""The built book, served on a loopback port as GitHub Pages would, and one Chromium for all its tests."""

import os
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"
# The path under which the book is published, "/course/": 404.html carries it in its links.
PREFIX = re.search(r"^\s*notfound_urls_prefix:\s*(\S+)", (ROOT / "_config.yml").read_text(), re.M)[1]
# Every page but the first index.html, which only sends the reader on to the home page.
PAGES = [
    path.relative_to(SITE).as_posix()
    for path in sorted(SITE.rglob("*.html"))
    if path.relative_to(SITE).parts[0] not in ("_static", "_sources", "index.html")
]


def pytest_addoption(parser):
    parser.addoption("--screenshots", metavar="DIR", help="save a picture of every page, width and theme")


def pytest_generate_tests(metafunc):
    """Run a test that asks for `visit` on every page, all its tests on one page before the next."""
    if "visit" in metafunc.fixturenames:
        metafunc.parametrize("visit", PAGES or ["no page"], indirect=True, scope="class")


def need(present, missing, remedy):
    """Fail in CI, skip elsewhere: the reason names what is missing and what to do."""
    if not present:
        reason = f"{missing}: {remedy}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


class PagesHandler(SimpleHTTPRequestHandler):
    """Serve SITE below PREFIX, and 404.html for whatever is not there."""

    def translate_path(self, path):
        return super().translate_path("/" + path.removeprefix(PREFIX) if path.startswith(PREFIX) else "/none")

    def send_error(self, code, message=None, explain=None):
        body = (SITE / "404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def site():
    """The address of the served book, with its final slash."""
    need(PAGES, f"no built book in {SITE.relative_to(ROOT)}", "run `make book` first")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(PagesHandler, directory=SITE))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}{PREFIX}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, cut off from every host but the test's own."""
    executable = shutil.which("chromium")
    need(executable, "no program `chromium`", "apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=executable,
            args=[
                "--no-sandbox",
                "--disable-background-networking",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ],
        )
        yield chromium
        chromium.close()
