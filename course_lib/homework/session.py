"""One submission from its notebook to its record: the student's worker and the referee, brought together."""

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field

from course_lib.book.pages import BookError
from course_lib.homework import source, submissions, variants
from course_lib.homework.referees import RefereeProcess, Referees
from course_lib.homework.sandbox import Failure, Limits, Worker

__all__ = ["Session", "Task", "grade_one"]

VERSION = 1  # of the records; another one is graded again
ANSWER = 20_000  # characters of an answer that a record keeps


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
