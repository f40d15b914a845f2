"""The other end of `referee.main`: the trusted process, asked by the one that grades."""

import os
import subprocess
import sys
import threading
import time

from course_lib.book.pages import BookError
from course_lib.homework import wire
from course_lib.homework.sandbox import Failure

__all__ = ["RefereeProcess", "Referees"]


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

    def open(self, task) -> dict:
        """Take up the student of a `session.Task`; returns what `referee.about` gives."""
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
