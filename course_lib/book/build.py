"""Build the site: execute what is stale, run jupyter-book, trim the pages. Never writes a tracked file."""

import hashlib
import os
import re
import subprocess
import sys
import time

import yaml

from course_lib.book.execution import alone, execute, missing_runs
from course_lib.book.pages import BookError, find_pages, read_config, write_text

__all__ = ["build", "trim"]

# The theme carries its icons twice: as a web font, which stays, and as 1.45 MB of script.
ICON_SCRIPT = re.compile(r'<script\b[^>]*\bsrc="[^"]*fontawesome\.js[^"]*"[^>]*></script>\s*')
JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"


def build(root, run=True):
    """Build the site under _build/html and return the path of its first page.

    `run=False` executes nothing: pages show the outputs at hand, and warnings are shown but allowed.
    Raises: BookError, with everything that failed printed before; then the site is not touched if it was
    a chapter that failed.
    """
    with alone(root):
        return _build(root, run)


def _build(root, run):
    start = time.monotonic()
    index = root / "_build" / "html" / "index.html"
    stamp = root / "_build" / ".built"
    inputs = _fingerprint(root)
    built = stamp.read_text().split() if stamp.is_file() else []
    if index.is_file() and built and built[0] == inputs and (built[1] == "run" or not run):
        print(f"nothing changed since the last build: {index}")
        return index

    pages = find_pages(root)
    lacking = [page.name for page in pages if page.is_notebook and not page.pair.exists()]
    if lacking:
        print(f"no notebook to download for {', '.join(lacking)} → course book sync", file=sys.stderr)
    if read_config(root).get("execute", {}).get("execute_notebooks") != "cache":
        raise BookError("_config.yml must say `execute: execute_notebooks: cache` → else chapters run twice")
    stamp.unlink(missing_ok=True)
    _run_chapters(root, pages) if run else None
    _run_jupyter_book(root, [] if run else missing_runs(root, pages), strict=run)
    trim(index.parent)
    write_text(stamp, f"{inputs} {'run' if run else 'no-run'}\n")
    print(f"{index}  ({time.monotonic() - start:.0f} s)")
    return index


def trim(folder):
    """Take the theme's icon script out of every page; the icons come from its font."""
    for page in folder.rglob("*.html"):
        write_text(page, ICON_SCRIPT.sub("", page.read_text(encoding="utf-8")))


def _fingerprint(root):
    """A hash of everything the site is made of."""
    files = [f for f in root.iterdir() if f.suffix in {".yml", ".md", ".txt", ".toml", ".cff"}]
    for name in ("chapters", "course_lib"):
        files += (root / name).rglob("*")
    whole = hashlib.sha256(str(sys.version_info[:2]).encode())
    for file in sorted(files):
        hidden = any(part.startswith((".", "__pycache__")) for part in file.relative_to(root).parts)
        if file.is_file() and not hidden:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            whole.update(f"{file.relative_to(root).as_posix()} {content}\n".encode())
    return whole.hexdigest()


def _run_chapters(root, pages):
    executed, failures = execute(root, pages)
    for page in executed:
        # Sphinx looks at the source only: without its tree, the page is made again with the new outputs.
        tree = root / "_build" / ".doctrees" / page.path.relative_to(root).with_suffix(".doctree")
        tree.unlink(missing_ok=True)
    for failure in failures:
        print(failure.text, file=sys.stderr)
    if failures:
        names = ", ".join(sorted(failure.page.name for failure in failures))
        raise BookError(f"{len(failures)} chapter(s) failed: {names} → correct the cells above; then again")


def _run_jupyter_book(root, skipped, strict):
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", str(root), "-n", "--keep-going", "-q"]
    if strict:
        command += ["-W"]
    if skipped:
        command += ["--config", str(_config_without(root, skipped))]
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    print("building the site …", flush=True)
    done = subprocess.run(
        command,
        cwd=root,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        # Sphinx would not repeat the warnings of pages that it has read: let it read all of them again.
        (root / "_build" / ".doctrees" / "environment.pickle").unlink(missing_ok=True)
        print(done.stdout, file=sys.stderr)
        raise BookError("the site has warnings or errors → correct what is listed above; then again")
    if not strict:
        print(done.stdout, end="")


def _config_without(root, skipped):
    """A copy of _config.yml that keeps the builder from executing the pages `skipped`."""
    config = read_config(root)
    config["execute"].setdefault("exclude_patterns", []).extend(page.file for page in skipped)
    local = config.get("sphinx", {}).get("local_extensions") or {}
    local.update({name: str(root / path) for name, path in local.items()})
    target = root / "_build" / "config.yml"
    target.parent.mkdir(exist_ok=True)
    write_text(target, yaml.safe_dump(config))
    return target
