"""From submissions to marks: one record a student, resumed where it stopped, and the same when done again.

This process stays small: it reads notebooks, passes messages between the referee and the worker, and writes
files. It holds no expected value and runs no line of a student's.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Executor, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path

from course_lib.book.pages import BookError, write_text
from course_lib.homework import records, source, submissions, variants, wire
from course_lib.homework.sandbox import Failure, Limits, Worker, why_not
from course_lib.progress import bar

__all__ = ["Grading", "Task", "grade", "grade_one"]

NORMAL = Limits()
VERSION = 1  # of the records; another one is graded again
ANSWER = 20_000  # characters of an answer that a record keeps
COLUMNS = ("student", "name", "assignment", "question", "kind", "points", "max", "reason", "flags", "sandbox")


@dataclass(frozen=True)
class Task:
    """All that grading one submission needs; plain values, for any executor.

    assignment, text: its name and its source.   notebook: its bytes, or None with the reason and a sentence.
    common: the constants are those in the book.
    """

    assignment: str
    text: str
    key: str
    student: str
    name: str
    common: bool
    file: str | None
    notebook: bytes | None
    refused: tuple[str, str] | None
    trusted: bool
    limits: Limits

    @property
    def digest(self) -> str:
        """What the record depends on, as a hash."""
        parts = asdict(self) | {"notebook": hashlib.sha256(self.notebook or b"").hexdigest(), "version": VERSION}
        parts |= {"key": variants.digest(bytes.fromhex(self.key), "record").hex()}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


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


# --- one submission ---------------------------------------------------------------------------------


def grade_one(task: Task) -> dict:
    """The record of one submission."""
    referee = Referees.mine()
    about = referee.open(task)
    record = {
        "student": task.student,
        "name": task.name,
        "assignment": about["name"],
        "title": about["title"],
        "sandbox": "unsandboxed" if task.trusted else "bubblewrap",
        "submission": task.file,
        "reason": "ok",
        "message": "",
        "flags": [],
        "output": "",
    }
    try:
        if task.refused:
            raise submissions.Refused(*task.refused)
        submission = submissions.parse(task.notebook, about)
    except submissions.Refused as error:
        reason, message = error.args
        rows = [_row(name, q, reason, message) for name, q in about["questions"].items()]
        return record | {"reason": reason, "message": message, "questions": rows}
    try:
        with Session(task, about, submission) as session:
            rows = [session.row(name, referee) for name in about["questions"]]
    except BaseException:
        referee.kill()  # it may wait for an answer that will not come
        raise
    output = session.output.decode("utf-8", "replace")[:2000]
    return record | {"questions": rows, "flags": submission.flags + session.flags(), "output": output}


def _row(name, question, reason, message, **more):
    row = {"question": name, "title": question["title"], "kind": question["kind"], "points": 0}
    row |= {"max": question["points"], "reason": reason, "message": message, "answer": "", "parts": []}
    if question["kind"] == "written":
        row["rubric"] = question["rubric"]
    return row | more


@dataclass
class Session:
    """One submission's worker through all questions: started again where an answer has ended it.

    A cell that ended the worker is not run again; one that raised is run, as what it defined may be whole.
    """

    task: Task
    about: dict
    submission: submissions.Submission
    output: bytes = b""
    failures: dict = field(default_factory=dict)  # cell → Failure
    ended: set = field(default_factory=set)  # cells that ended a worker

    def __enter__(self):
        self.worker = Worker(self.task.limits, self.task.trusted)
        self.left = 60 + 2 * sum(q["seconds"] for q in self.about["questions"].values())
        return self

    def __exit__(self, *_):
        self._end()

    def _end(self):
        self.worker.stop()
        self.output = self.output or self.worker.head

    def row(self, name: str, referee: "RefereeProcess") -> dict:
        """The row of one question."""
        question = self.about["questions"][name]
        if name in self.submission.duplicates:
            return _row(name, question, "duplicate", "two cells claim to be this answer → keep one")
        if question["kind"] == "written":
            return self._written(name, question)
        answer = dict(self.submission.cells).get(name)
        if answer is None:
            return _row(name, question, "blank", "the notebook has no cell for this answer")
        parts = referee.judge(name, lambda request, body: self._ask(name, question, request, body))
        reason = next((part["reason"] for part in parts if part["reason"] != "ok"), "ok")
        points = sum(part["points"] for part in parts)
        stopped = self.failures.get(name)
        message = f"the cell stops: {stopped.message}" if stopped and reason != "ok" else ""
        return _row(name, question, reason, message, points=points, parts=parts, answer=answer[:ANSWER])

    def _written(self, name, question):
        text = self.submission.written.get(name, "").strip()
        if text in ("", source.written_blank(name)):
            return _row(name, question, "blank", "there is no answer yet")
        return _row(name, question, "by-hand", "", points=None, answer=text[:ANSWER])

    def _ask(self, name, question, request, body):
        """The worker's answer to a request of the referee.   Raises: Failure."""
        self._run_cells()
        if name in self.ended:
            raise self.failures[name]
        return self._timed(request, body, question["seconds"])

    def _run_cells(self):
        """Have a worker that has run every cell which does not end it."""
        while not self.worker.alive:
            if self.left <= 0:
                raise Failure("timeout", "the time for the whole notebook is used up")
            start = time.monotonic()
            self.worker.start()
            self.left -= time.monotonic() - start if self.ended else 0  # the first start is no fault of the student
            setup = [cell[4] for cell in self.about["cells"] if cell[1] == "setup"]
            cells = [("setup", text) for text in setup] + self.submission.cells
            for name, text in cells:
                if name in self.ended:
                    continue
                question = self.about["questions"].get(name, {"seconds": 60 if name == "setup" else 10, "seed": 0})
                request = {"cell": text, "name": name, "seed": question["seed"]}
                try:
                    self._timed(request, b"", question["seconds"])
                except Failure as failure:
                    if name == "setup":
                        raise BookError(
                            f"the set-up cells fail: {failure.message} → correct the assignment"
                        ) from failure
                    self.failures[name] = failure
                    if not self.worker.alive:
                        self.ended.add(name)
                        break

    def _timed(self, request, body, seconds):
        start = time.monotonic()
        try:
            return self.worker.ask(request, body, min(seconds, max(self.left, 0.1)))
        finally:
            self.left -= time.monotonic() - start
            if not self.worker.alive:
                self.output = self.output or self.worker.head

    def flags(self) -> list[str]:
        """What a person should know of cells that the student added."""
        ended = sorted(name for name in self.ended if name.startswith("extra"))
        return [f"added cells that ended the worker: {', '.join(ended)}"] if ended else []


# --- the referee's process --------------------------------------------------------------------------


class RefereeProcess:
    """The other end of `referee.main`."""

    def __init__(self):
        command = [sys.executable, "-m", "course_lib.homework.referee"]
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | threads,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for this process; the referee ends with its input
        )

    def open(self, task: Task) -> dict:
        """Take up a student; returns what `referee.about` gives."""
        self._send({"open": [task.assignment, task.text, task.key, task.student, task.common]})
        return self._done(None)

    def judge(self, question: str, ask) -> list[dict]:
        """The parts of a question.   ask(request, body) → (tree, body); raises Failure."""
        self._send({"judge": question})
        return self._done(ask)

    def _send(self, message, body=b""):
        self.process.stdin.write(wire.pack(message, body))

    def _done(self, ask):
        while True:
            try:
                message, body = wire.read(self.process.stdout.fileno(), time.monotonic() + 600)
            except (wire.Closed, TimeoutError) as error:
                raise BookError("the referee has ended → see its message above") from error
            if "error" in message:
                raise BookError(message["error"])
            if "done" in message:
                return message["done"]
            try:
                value, body = ask(message["ask"], body)
                self._send({"value": value}, body)
            except Failure as failure:
                self._send({"failure": [failure.reason, failure.message]})

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Referees:
    """One referee for each thread that grades; all of them end with `close`."""

    _local, _all, _lock = threading.local(), [], threading.Lock()

    @classmethod
    def mine(cls) -> RefereeProcess:
        """This thread's referee, started if there is none."""
        mine = getattr(cls._local, "referee", None)
        if mine is None or mine.process.poll() is not None:
            mine = cls._local.referee = RefereeProcess()
            with cls._lock:
                cls._all.append(mine)
        return mine

    @classmethod
    def close(cls) -> None:
        """End the referees of this process."""
        with cls._lock:
            for referee in cls._all:
                if referee.process.poll() is None:
                    referee.close()
            cls._all.clear()
