"""A student's own check: run a notebook as it is, in a fresh process, and tell what its visible checks found."""

import json
import os
import subprocess
import sys
from pathlib import Path

from course_lib.book.pages import BookError

__all__ = ["selfcheck"]


def selfcheck(path: Path, seconds: float = 600) -> int:
    """Run the notebook's code cells in order and print what its checks find; returns 1 if one fails
    or a cell stops.

    It runs with the rights of who calls it: for one's own work.   seconds: for the whole notebook.
    Raises: BookError if the file is no notebook, has no checks, or takes too long.
    """
    from course_lib.homework.submissions import Refused, read

    try:
        notebook = json.loads(read(path))
        cells = [("".join(c["source"]), str(c.get("id", i))) for i, c in enumerate(notebook["cells"]) if _is_code(c)]
    except Refused as error:
        raise BookError(f"{path} is no notebook: {error.args[1]} → give the path of yours") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BookError(f"{path} is no notebook that can be read: {error} → save it again") from error
    try:
        done = subprocess.run(
            [sys.executable, "-u", "-c", RUN],
            input=json.dumps(cells),
            text=True,
            timeout=seconds,
            env=os.environ | {"MPLBACKEND": "Agg"},
            cwd=path.parent,
        )
    except subprocess.TimeoutExpired:
        raise BookError(f"{path} takes more than {seconds:g} s → look for a loop, or give more --seconds") from None
    if done.returncode == 2:
        raise BookError(f"{path} has no checks → run the notebook that `course homework release` or the book gave")
    return done.returncode


def _is_code(cell):
    return cell["cell_type"] == "code"


RUN = """
import json, sys
cells = json.load(sys.stdin)
from course_lib.homework.check import RESULTS
from course_lib.homework.running import run_cell, told
names, stopped = {"__name__": "__main__", "display": print}, 0
for source, name in cells:
    try:
        run_cell(name, source, names)
    except Exception as error:
        stopped += 1
        print(f"The cell {name} stops: {told(error)}")
if not RESULTS:
    sys.exit(2)
right = sum(not found["failed"] and not found["blank"] for found in RESULTS.values())
blank = sum(found["blank"] for found in RESULTS.values())
print(f"{len(RESULTS)} checked: {right} without an objection, {blank} not answered yet, "
      f"{len(RESULTS) - right - blank} to look at" + (f"; {stopped} cells stopped" if stopped else ""))
sys.exit(bool(stopped) or any(found["failed"] for found in RESULTS.values()))
"""
