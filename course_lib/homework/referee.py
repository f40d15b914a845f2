"""The trusted side of grading: the solution, the inputs it draws, and whether an answer is right.

It runs as a process of its own (`main`), so that the process beside the students' code stays small and holds
no expected value; and in a kernel, where nbgrader marks (`nbgrader.judge`).
"""

import contextlib
import functools
import io
import os
import re
from dataclasses import dataclass, field

from course_lib.book.pages import BookError
from course_lib.homework import source, variants, wire
from course_lib.homework.questions import Question, Sheet, compare, describe, show
from course_lib.homework.running import evaluate, run_cell, seed
from course_lib.homework.variants import COMMON

__all__ = ["Referee", "Unanswered", "main"]

MESSAGE = 1_000


class Unanswered(Exception):
    """There is no value to compare: a reason code and what can be said about it."""


@dataclass
class Referee:
    """Marks one student's answers to one assignment.

    key: the instructor's.   common: the constants are those in the book, not the student's own; the inputs
    that answers are tried on come from the key all the same.
    """

    assignment: source.Assignment
    key: bytes
    student: str
    common: bool = False
    _solved: dict = field(default_factory=dict)

    def __post_init__(self):
        self.constants = self.assignment.constants_of(*(COMMON if self.common else (self.key, self.student)))
        self.sheet = sheet = Sheet()
        known = self._names() | {"question": sheet.question, "part": sheet.part, "written": sheet.written}
        for cell in self.assignment.of("grader"):
            _run(f"{self.assignment.name}: {cell.question}", cell.source, known | {})
        self._check()

    @property
    def questions(self) -> dict[str, Question]:
        """The questions by id, in order."""
        return self.sheet.questions

    def _check(self):
        name, asked = self.assignment.name, list(self.assignment.titles)
        if list(self.questions) != asked:
            raise BookError(f"{name}: the grader cells declare {list(self.questions)} → {asked}, each in its own cell")
        for q in self.questions.values():
            by_hand = any(cell.kind == "markdown" for cell in self.assignment.of("answer", q.id))
            if by_hand != (q.kind == "written"):
                raise BookError(f"{name}: {q.id} is {q.kind} → a markdown answer for written(), code for question()")
            for other in q.after:
                if other not in asked or asked.index(other) >= asked.index(q.id):
                    raise BookError(f"{name}: {q.id} comes after {other!r} → name earlier questions")

    def _draws(self, *words):
        return variants.generator(self.key, self.assignment.name, self.student, *words)

    def seed(self, *words: str) -> int:
        """A seed of 63 bits for what the student's code draws itself."""
        return int(self._draws("seed", *words).integers(2**63))

    def _names(self):
        import numpy as np
        import torch

        names = {"np": np, "torch": torch, "display": print}
        for cell in self.assignment.cells:
            if cell.role == "variant":
                names |= self.constants
            elif cell.role == "setup" and cell.source.strip() != source.SETUP_CELL:
                _run("setup", cell.source, names)
        return names

    def _solution(self, question):
        """The names of the solution, its cells run in order: those that the question names, then its own."""
        if question.id not in self._solved:
            names = self._names()
            for name in (*question.after, question.id):
                seed(self.seed(name))
                _run(f"{name}: solution", self.assignment.solution(name), names)
            self._solved[question.id] = names
        return self._solved[question.id]

    def judge(self, name: str, ask) -> list[dict]:
        """Mark the parts of a question.   ask(code, given, seed) → value; raises Unanswered.

        Returns one dict a part, as in a record. After an answer that cost the worker its life the rest is
        not asked.
        """
        question, results, ended = self.questions[name], [], None
        for index, part in enumerate(question.parts):
            outcome = {"what": part.what, "points": 0, "max": part.points}
            if ended is None:
                outcome |= self._part(question, index, part, ask)
                ended = outcome["reason"] if outcome["reason"] in FATAL else None
            else:
                outcome |= {"reason": "skipped", "message": "not asked, as a part above ended the run"}
            if outcome["reason"] == "ok":
                outcome["points"] = part.points
            results.append(outcome)
        return results

    def _part(self, question, index, part, ask):
        for turn in range(part.times):
            words = (question.id, str(index), str(turn))
            given = part.draw(self._draws("inputs", *words)) if part.draw else {}
            told = {"asked": _call(part.code, given)}
            want = None
            if part.needs_reference:
                names = self._solution(question)
                seed(self.seed("call", *words))
                want = evaluate(part.code, _copied(given), names)
                told["expected"] = describe(want)
            try:
                got = ask(part.code, given, self.seed("call", *words))
            except Unanswered as error:
                reason, message = error.args
                return told | {"reason": reason, "message": message}
            told["got"] = show(got)
            reason, message = _judged(part, got, want, given)
            if reason != "ok":
                return told | {"reason": reason, "message": str(message)[:MESSAGE]}
        return {"reason": "ok", "message": "", "asked": told["asked"]}


def _run(name, source, names):
    with contextlib.redirect_stdout(io.StringIO()):  # what the author's cells print is for students
        run_cell(name, source, names)


UNLESS = re.compile(r"^\.\.\. if .* else (?=.*\Z)", re.MULTILINE)  # "not answered yet", for a part of several values
FATAL = ("timeout", "memory", "output", "died", "malformed")


def _judged(part, got, want, given):
    try:
        if part.check is None:
            return compare(got, want, part.close)
        message = part.check(got, want, given)
    except Exception as error:  # the value has a form that the check did not expect
        return "wrong", f"the answer has a form that cannot be judged ({type(error).__name__})"
    return ("wrong", message) if message else ("ok", "")


def _copied(given):
    return wire.decode(*wire.encode(given))


def _call(code, given):
    inputs = ", ".join(f"{name} = {show(value, 200)}" for name, value in given.items())
    return UNLESS.sub("", code.strip()) + (f"   with {inputs}" if inputs else "")


# --- as a process -----------------------------------------------------------------------------------


def main() -> None:
    """Serve the process that grades, over standard input and output, until it closes them."""
    import torch

    torch.set_num_threads(1)
    requests, answers = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # what a solution prints is no answer
    loaded = {}

    send = functools.partial(wire.send, answers)

    def ask(code, given, seed):
        tree, body = wire.encode(given)
        send({"ask": {"code": code, "given": tree, "seed": seed}}, body)
        reply, body = wire.read(requests, float("inf"))
        if "failure" in reply:
            raise Unanswered(*reply["failure"])
        try:
            return wire.decode(reply["value"], body)
        except Exception as error:  # the answer has passed `wire.check`, but strangers made it
            raise Unanswered("malformed", f"the value cannot be read ({type(error).__name__})") from error

    while True:
        try:
            request, _ = wire.read(requests, float("inf"))
        except wire.Closed:
            return
        try:
            if "open" in request:
                name, text, key, student, common = request["open"]
                if text not in loaded:
                    loaded = {text: source.parse(name, text)}
                assignment = loaded[text]
                referee = Referee(assignment, bytes.fromhex(key), student, common)
                send({"done": about(referee)})
            else:
                send({"done": referee.judge(request["judge"], ask)})
        except BookError as error:
            send({"error": str(error)})
        except Exception as error:
            import traceback

            traceback.print_exc()
            send({"error": f"{type(error).__name__}: {error} → correct the assignment's grader cells"})


def about(referee: Referee) -> dict:
    """What the grader needs to know of an assignment: nothing that is expected of an answer."""
    assignment = referee.assignment
    cells = assignment.student_cells(referee.constants)
    return {
        "name": assignment.name,
        "title": assignment.title,
        "digest": assignment.digest,
        "questions": {
            q.id: {
                "title": assignment.titles[q.id],
                "kind": q.kind,
                "points": q.points,
                "seconds": q.seconds,
                "rubric": q.rubric,
                "seed": referee.seed("cell", q.id),
                "parts": [[part.what, part.points] for part in q.parts],
            }
            for q in referee.questions.values()
        },
        "cells": [[c.kind, c.role, c.question, c.id, c.source] for c in cells],
    }


if __name__ == "__main__":
    main()
