"""From submissions to marks: one record a student, resumed where it stopped, and the same when done again.

This process stays small: it reads notebooks, passes messages between the referee and the worker, and writes
files. It holds no expected value and runs no line of a student's.
"""

import contextlib
import csv
import io
import json
import sys
from concurrent.futures import FIRST_COMPLETED, Executor, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from course_lib.book.pages import BookError, write_text
from course_lib.homework import records, submissions
from course_lib.homework.referees import Referees
from course_lib.homework.sandbox import Limits
from course_lib.homework.session import Task, grade_one
from course_lib.homework.walls import why_not
from course_lib.progress import bar

__all__ = ["Grading", "grade"]

NORMAL = Limits()
COLUMNS = ("student", "name", "assignment", "question", "kind", "points", "max", "reason", "flags", "sandbox")


@dataclass(frozen=True)
class Grading:
    """What `grade` did: the records in the roster's order, and what a person should look at."""

    records: list[dict]
    graded: int
    strays: list[str]
    changed_by_hand: list[tuple[str, str]]
    overruled: list[tuple[str, str]]


def grade(
    submissions_folder: Path,
    assignment: Path,
    roster: Path,
    key: bytes,
    out: Path,
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    trusted: bool = False,
    common: bool = False,
    again: bool = False,
    limits: Limits = NORMAL,
    progress: bool | None = None,
) -> Grading:
    """Grade every student of the roster; write OUT/records, OUT/grades.csv and OUT/by_hand.csv.

    jobs: submissions at once; None is 1, or 32 for an executor.   executor: of `concurrent.futures`, for processes
    or machines; each needs course_lib and bubblewrap.   trusted: without walls (see `sandbox`).
    common: all students got the variant in the book.   again: grade also what is graded.
    Raises: BookError where the walls cannot be built, the folder is in use, or the assignment is broken; what
    is graded by then is kept, and the next call goes on.
    """
    students = submissions.read_roster(roster)
    text = Path(assignment).read_text(encoding="utf-8")
    submissions_folder, out = Path(submissions_folder), Path(out)
    if not submissions_folder.is_dir():
        raise BookError(f"{submissions_folder} is no folder → the folder that holds a folder for each student")
    if not trusted and executor is None and why_not():
        raise BookError(why_not())
    (out / "records").mkdir(parents=True, exist_ok=True)
    with _alone(out):
        given = Path(assignment).stem, text, key.hex()
        tasks = (_task(s, submissions_folder, given, common, trusted, limits) for s in students)
        if any((out / "records").glob("*.json")) and (old := records.read_records(out)[0]["assignment"]) != given[0]:
            raise BookError(f"{out} holds records of {old} → grade {given[0]} into a folder of its own")
        graded = _grade_all(tasks, len(students), out, jobs, executor, again, progress)
        found = {record["student"]: record for record in records.read_records(out)}
        ordered = [found[student.id] for student in students]
        changed = records.write_by_hand(out / "by_hand.csv", ordered)
        ordered = records.merged(ordered, records.read_by_hand(out / "by_hand.csv"))
        write_text(out / "grades.csv", "\ufeff" + _csv(ordered))  # with the mark, spreadsheets read accents right
    strays = submissions.strays(submissions_folder, students)
    left = sorted(f"records/{name}.json" for name in set(found) - {student.id for student in students})
    return Grading(ordered, graded, strays + left, changed, _overruled(ordered))


def _overruled(ordered):
    rows = ((record["student"], row) for record in ordered for row in record["questions"])
    return [(name, row["question"]) for name, row in rows if row["kind"] != "written" and row["reason"] == "by-hand"]


@contextlib.contextmanager
def _alone(out):
    import fcntl

    with open(out / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BookError(f"another process grades into {out} → wait for it, or choose another --out") from None
        try:
            yield
        except OSError as error:  # such as a full disk
            name = error.filename or out
            raise BookError(f"{name}: {error.strerror} → mend that and grade again: what is graded is kept") from error


def _task(student, folder, given, common, trusted, limits):
    path = notebook = refused = None
    try:
        path = submissions.locate(folder, student, given[0])
        notebook = submissions.read(path)
    except submissions.Refused as error:
        refused = error.args
    file = path.relative_to(folder).as_posix() if path else None
    return Task(*given, student.id, student.name, common, file, notebook, refused, trusted, limits)


def _grade_all(tasks, count, out, jobs, executor, again, progress):
    """Grade what has no current record; returns how many were graded."""
    done, jobs = 0, jobs or (1 if executor is None else 32)
    pool = executor or ThreadPoolExecutor(jobs)
    running, failed = {}, []
    try:
        with bar(count, unit="submission", show=progress) as shown:
            for task in tasks:
                target, name = out / "records" / f"{task.student}.json", task.digest
                if not again and _is_current(target, name):
                    shown.update()
                    continue
                running[pool.submit(grade_one, task)] = target, name
                while len(running) >= 2 * jobs:
                    done += _collect(running, shown, failed)
            while running:
                done += _collect(running, shown, failed)
    except KeyboardInterrupt:
        under_way = [future for future in running if not future.cancel()]
        print(f"\ncourse: {len(under_way)} submission(s) under way are finished first", file=sys.stderr)
        wait(under_way)
        if under_way:
            _collect({future: running[future] for future in under_way}, bar(0, show=False), failed)
        raise
    finally:
        for future in running:
            future.cancel()
        if executor is None:
            pool.shutdown(wait=True, cancel_futures=True)
        Referees.close()
    if failed:
        raise failed[0]
    return done


def _collect(running, shown, failed):
    finished, _ = wait(running, return_when=FIRST_COMPLETED)
    count = 0
    for future in finished:
        target, name = running.pop(future)
        try:
            record = future.result()
        except BookError as error:
            failed.append(error)
            if len(failed) > 3:
                raise
            continue
        except Exception as error:  # of an executor whose process or machine is gone
            raise BookError(f"the executor failed: {error!r} → grade again: what is graded is kept") from error
        write_text(target, json.dumps(_clean(record | {"key": name}), ensure_ascii=False, indent=1) + "\n")
        shown.update()
        count += 1
    return count


def _is_current(path, name):
    try:
        return json.loads(path.read_bytes())["key"] == name
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _clean(value):
    """Text that can be written: halves of surrogate pairs are replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {name: _clean(item) for name, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list | tuple) else value


def _csv(ordered):
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in ordered:
        for row in record["questions"]:
            cells = record | row | {"flags": "; ".join(record["flags"])}
            writer.writerow([records.csv_text(cells[name]) for name in COLUMNS])
    return stream.getvalue()
