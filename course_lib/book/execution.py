"""Execute chapters side by side, each in its own kernel; keep each finished run in the book's cache.

The store is jupyter-cache in _build/.jupyter_cache, where the book's builder looks a run up by the code
cells. A record also holds the key of `dependencies.execution_key`: with another key it is stale.
"""

import contextlib
import fcntl
import os
import shutil
import sys
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import PurePosixPath

from course_lib.book.dependencies import execution_key
from course_lib.book.kernels import Run
from course_lib.book.pages import BookError, read_config

__all__ = ["TIMEOUT", "alone", "cache_folder", "current_runs", "execute", "executed_notebooks", "missing_runs"]

TIMEOUT = 600  # seconds for a whole chapter


def cache_folder(root):
    """Where finished runs are kept."""
    return root / "_build" / ".jupyter_cache"


@contextlib.contextmanager
def _open_cache(root):
    from jupyter_cache import get_cache
    from sqlalchemy.exc import SQLAlchemyError

    folder = cache_folder(root)
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise BookError(
            f"the cache folder {folder} cannot be written ({error.strerror}) → correct its owner and rights, "
            "or remove _build"
        ) from error
    cache = get_cache(folder)
    try:
        yield cache
    except (SQLAlchemyError, RuntimeError) as error:
        raise BookError(f"the cache in {folder} is damaged ({error}) → run `make clean`") from error
    finally:
        cache.db.dispose()


def _current(cache, page, key):
    """The cache's record of a run with this key, or None; the one with this page's captions if there is one."""
    known = [
        record
        for record in cache.list_cache_records()
        if record.data.get("key") == key and cache._get_notebook_path_cache(record.hashkey).is_file()
    ]
    _, wanted = cache.create_hashed_notebook(page.notebook)
    return min(known, key=lambda record: record.hashkey != wanted, default=None)


def executed_notebooks(root, pages):
    """{page: executed notebook} for the pages with a current run."""
    found = {}
    with _open_cache(root) as cache:
        for page in pages:
            record = _current(cache, page, execution_key(page))
            if record is not None:
                found[page] = cache.get_cache_bundle(record.pk).nb
    return found


def missing_runs(root, pages):
    """Those of `pages` for which the builder would find no run, current or not, and execute the page itself."""
    missing = []
    with _open_cache(root) as cache:
        for page in pages:
            if page.is_notebook:
                record = _current(cache, page, execution_key(page))
                if record is not None:
                    _refresh_metadata(cache, page, record)
                try:
                    cache.match_cache_notebook(page.notebook)
                except KeyError:
                    missing.append(page)
    return missing


def current_runs(pages):
    """{page: executed notebook}, executing what is stale first.

    Raises: BookError with every failure if a chapter does not run, or is excluded from execution.
    """
    root = pages[0].root
    _, failures = execute(root, pages)
    if failures:
        raise BookError("\n".join(failure.text for failure in failures))
    found = executed_notebooks(root, pages)
    for page in pages:
        if page not in found:
            raise BookError(
                f"{page.file}: no current run → run this again if its cells or the library changed meanwhile; "
                "take its output tags off if _config.yml excludes it from execution"
            )
    return found


def execute(root, pages, workers=None, timeout=TIMEOUT):
    """Execute the stale ones of `pages`, several at once, the longest first.

    A finished chapter is stored at once, so that an interruption loses nothing; a failing one is not
    stored and does not stop the others. Returns (pages executed, failures).
    Raises: KeyboardInterrupt after ending all kernels.
    """
    excluded = read_config(root).get("execute", {}).get("exclude_patterns", [])
    stale = {}
    with _open_cache(root) as cache:
        for page in pages:
            if page.is_notebook and not any(PurePosixPath(page.file).match(pattern) for pattern in excluded):
                key = execution_key(page)
                record = _current(cache, page, key)
                if record is None:
                    stale[page] = key
                else:
                    _refresh_metadata(cache, page, record)
        records = {record.uri: record for record in cache.list_cache_records()}
        seconds = {uri: record.data.get("execution_seconds", 0) for uri, record in records.items()}
        # A chapter that never ran may be the longest.
        order = sorted(stale, key=lambda page: -seconds.get(page.file, float("inf")))
        runs = [Run(page, timeout) for page in order]
        return _run_all(cache, runs, stale, workers or os.cpu_count() or 1) if runs else ([], [])


def _refresh_metadata(cache, page, record):
    """Captions and other tags change without a run, but the builder looks a run up by them too."""
    if record.hashkey == cache.create_hashed_notebook(page.notebook)[1]:
        return
    stored = cache.get_cache_bundle(record.pk).nb
    cells = [cell for cell in page.notebook.cells if cell.cell_type == "code"]
    for old, new in zip(stored.cells, cells, strict=True):
        old.metadata = new.metadata
    _store(cache, page, stored, record.data)


def _store(cache, page, notebook, data):
    from jupyter_cache.base import CacheBundleIn

    bundle = CacheBundleIn(notebook, page.file, data=data)
    file = cache._get_notebook_path_cache(cache.create_hashed_notebook(notebook)[1])
    with alone(page.root, "cache"):
        if file.parent.is_dir() and not file.is_file():  # a process was killed while it wrote this run
            shutil.rmtree(file.parent)
        record = cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
        for other in cache.list_cache_records():  # runs of earlier versions of this page
            if other.uri == page.file and other.pk != record.pk:
                with contextlib.suppress(KeyError):
                    cache.remove_cache(other.pk)


@contextlib.contextmanager
def alone(root, what="build"):
    """Let one process at a time build, or write to the cache: `make serve` may run beside `make book`."""
    folder = root / "_build"
    try:
        folder.mkdir(exist_ok=True)
        file = open(folder / f".{what}.lock", "w")  # noqa: SIM115 - closed below, with the lock
    except OSError as error:
        raise BookError(f"{folder} cannot be written ({error.strerror}) → correct its owner and rights") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another {what} of this book to end …", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run_all(cache, runs, keys, workers):
    from tqdm import tqdm

    from course_lib.progress import bar

    done, failures = [], []
    with bar(len(runs), unit="chapter") as progress, ThreadPoolExecutor(workers) as pool:
        waiting = {pool.submit(run): run for run in runs}

        def collect(futures):
            for future in futures:
                run, failure = waiting.pop(future), future.result()
                if failure is None:
                    data = {"key": keys[run.page], "execution_seconds": run.seconds}
                    _store(cache, run.page, run.notebook, data)
                    done.append(run.page)
                else:
                    failures.append(failure)
                state = "FAILED after " if failure else ""
                tqdm.write(f"{run.page.name}: {state}{run.seconds:.1f} s", file=sys.stderr)
                progress.update()

        try:
            while waiting:
                progress.set_postfix_str(", ".join(run.page.name for run in runs if run.running))
                collect(wait(waiting, timeout=1, return_when=FIRST_COMPLETED).done)
        except BaseException:  # Ctrl-C above all; a cache that breaks must not leave kernels either
            for future in waiting:
                future.cancel()
            for run in runs:
                run.stop()
            ended = wait(waiting).done
            collect([future for future in ended if not future.cancelled() and future.result() is None])
            raise
    return done, failures
