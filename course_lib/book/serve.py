"""Serve the book on this machine and build it again when something changes."""

import contextlib
import errno
import functools
import shutil
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from course_lib.book.build import build
from course_lib.book.pages import BookError

__all__ = ["serve"]

WATCHED = ("chapters", "course_lib", "_config.yml", "_toc.yml", "requirements.txt")


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):  # a line for every request would hide the builder's messages
        pass

    def end_headers(self):
        self.send_header("Cache-Control", "no-store")  # a reload shows the new build
        super().end_headers()


def serve(root, port=8000, stop=None):
    """Build, serve _build/html at http://127.0.0.1:port, and build again on every change until Ctrl-C.

    A copy is served, so a build that fails leaves the last good site up. `stop`: a threading.Event.
    Raises: BookError if the port is taken.
    """
    from watchfiles import DefaultFilter, watch

    with tempfile.TemporaryDirectory(prefix="course-book-") as folder:
        site = Path(folder) / "site"
        site.mkdir()
        (site / "index.html").write_text("<p>The book is not built yet: see the terminal.</p>\n")
        server = _listen(port, site)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            print(f"http://127.0.0.1:{server.server_port}  (Ctrl-C ends it)", flush=True)
            kept = DefaultFilter(ignore_entity_patterns=(*DefaultFilter.ignore_entity_patterns, r"\.tmp$"))
            paths = [root / name for name in WATCHED if (root / name).exists()]
            changes = watch(
                *paths,
                watch_filter=kept,
                stop_event=stop,
                raise_interrupt=True,
                yield_on_timeout=True,
                rust_timeout=500,
            )
            next(changes)  # the watch begins before the first build: no change is lost
            _rebuild(root, site)
            for changed in changes:
                if changed:
                    _rebuild(root, site)
        finally:
            server.shutdown()
            server.server_close()


def _listen(port, site):
    handler = functools.partial(_Handler, directory=str(site))
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise BookError(f"port {port} cannot be used ({error.strerror}) → take --port 8000") from error
        raise BookError(f"port {port} is taken → course book serve --port {port + 1}") from error
    except OverflowError:
        raise BookError(f"a port is a number from 0 to 65535, got {port} → take --port 8000") from None


def _rebuild(root, site):
    try:
        index = build(root)
    except BookError as error:
        print(f"course: {error}\nthe last good site stays up", file=sys.stderr, flush=True)
        return
    new, old = site.with_name("new"), site.with_name("old")
    shutil.copytree(index.parent, new)
    site.rename(old)
    new.rename(site)
    with contextlib.suppress(OSError):  # a request may hold a file
        shutil.rmtree(old)
