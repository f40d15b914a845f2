"""A student's process between walls: started, asked, watched, and ended with all that it started.

Marks and expected values never enter it. Time, memory and what it prints are held to limits from outside.
"""

import contextlib
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from course_lib.book.pages import BookError
from course_lib.homework import wire
from course_lib.homework.processes import descendants, first_inside, resident
from course_lib.homework.walls import NOBODY, call_filter, environment, readable_hint, walls

__all__ = ["Failure", "Limits", "Worker"]

HEAD = 8_000  # bytes kept of what is printed
START = 120.0  # seconds for the imports, on a busy machine
PATIENCE = 5.0  # seconds for the kernel to end what is killed


@dataclass(frozen=True)
class Limits:
    """What one worker may use. Wall-clock seconds are set by each question.

    memory: bytes beyond the imports, for a process and for all of them together.   output: bytes printed.
    """

    memory: int = 2 << 30
    output: int = 8 << 20
    cpu: int = 900
    files: int = 256
    processes: int = 64


class Failure(Exception):
    """Why there is no answer: a reason code, and what can be said about it."""

    def __init__(self, reason: str, message: str = ""):
        super().__init__(reason, message)
        self.reason, self.message = reason, message


class Worker:
    """One process for one student's code, from start to stop; a context manager.

    trusted: without walls, for submissions that the caller trusts.
    head, tail: the first and the last bytes that were printed.
    Used by one thread: the process dies with the thread that started it.
    """

    def __init__(self, limits: Limits = Limits(), trusted: bool = False):
        self.limits, self.trusted = limits, trusted
        self.process, self.first, self.printed, self.head, self.tail = None, None, 0, b"", b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether there is a process to ask."""
        return self.process is not None

    def start(self) -> None:
        """Start the process and wait for its imports.   Raises: BookError where the walls cannot be built."""
        requests, self.requests = os.pipe()
        self.answers, answers = os.pipe()
        self.printing, printed = os.pipe()
        limits = self.limits
        numbers = [requests, answers, limits.memory, limits.cpu, limits.files, limits.processes]
        python = os.path.abspath(sys.executable)  # a link of an environment stays one
        command = [python, "-P", "-s", "-B", "-u", "-m", "course_lib.homework.worker", *map(str, numbers)]
        options, passed = {}, [requests, answers]
        if not self.trusted:
            passed.append(call_filter())
            command = [*walls(), "--seccomp", str(passed[-1]), "--", *command]
        elif os.geteuid() == 0:
            options = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                pass_fds=passed,
                env=environment(),
                cwd="/",
                start_new_session=True,
                **options,
            )
        except OSError as error:
            for file in (self.requests, self.answers, self.printing):
                os.close(file)
            raise BookError(f"the worker does not start: {error} → {readable_hint()}") from error
        finally:
            for file in (*passed, printed):
                os.close(file)
        for file in (self.requests, self.answers, self.printing):
            os.set_blocking(file, False)
        self.printed, self.wake, self.look = 0, [self.printing], 0.0
        try:
            ready, _ = wire.read(self.answers, time.monotonic() + START, self._drain, self.wake)
        except (wire.Closed, wire.Malformed, TimeoutError) as error:
            self.stop()
            said = self.tail.decode("utf-8", "replace").strip()[-500:]
            raise BookError(f"the worker does not start: {said or error!r} → {readable_hint()}") from error
        if ready != {"ready": True}:
            self.stop()
            raise BookError(f"the worker answers {ready!r} → install course_lib again")
        self.baseline, self.first = self._memory(), first_inside(self.process.pid)

    def ask(self, request: dict, body: bytes, seconds: float) -> tuple[object, bytes]:
        """The value, as (tree, body), that the worker gives for a request.   Raises: Failure.

        After `timeout`, `memory`, `output`, `died` and `malformed` there is no worker any more.
        """
        number = secrets.token_hex(16)
        deadline = time.monotonic() + seconds
        try:
            self._write(wire.pack(request | {"id": number}, body), deadline)
            reply, answer = wire.read(self.answers, deadline, self._watch, self.wake)
            self._watch()
            return self._value(reply, answer, number)
        except wire.Malformed as error:
            self.stop()
            raise Failure("malformed", f"what came back is no answer: {error}") from error
        except (wire.Closed, BrokenPipeError) as error:
            self._drain()
            self.stop()
            raise Failure("died", "the process ended before it answered") from error
        except TimeoutError as error:
            self.stop()
            raise Failure("timeout", f"no answer after {seconds:g} s") from error
        except _Exceeded as error:
            self.stop()
            raise Failure(*error.args) from error

    def _write(self, frame, deadline):
        frame = memoryview(frame)
        while frame:
            if time.monotonic() > deadline:
                raise TimeoutError
            poll = select.poll()
            poll.register(self.requests, select.POLLOUT)
            if poll.poll(100):
                with contextlib.suppress(BlockingIOError):
                    frame = frame[os.write(self.requests, frame) :]
            self._watch()

    def _value(self, reply, body, number):
        if reply.get("id") != number or set(reply) not in ({"id", "value"}, {"id", "failure"}):
            raise wire.Malformed("it answers no question that was asked")
        if "value" in reply:
            wire.check(reply["value"], body)
            return reply["value"], body
        failure = reply["failure"]
        if type(failure) is not list or [type(x) for x in failure] != [str, str] or failure[0] not in TELLS:
            raise wire.Malformed("a failure of no known form")
        raise Failure(failure[0], failure[1][:4000])

    def _watch(self):
        self._drain()
        if self.printed > self.limits.output:
            raise _Exceeded("output", f"more than {self.limits.output >> 20} MB were printed")
        if time.monotonic() < self.look:
            return
        if self._memory() - self.baseline > self.limits.memory:
            raise _Exceeded("memory", f"all processes together took more than {self.limits.memory >> 20} MB")
        self.look = time.monotonic() + 0.05

    def _drain(self):
        """Take what was printed: a little of it, as the clock must be looked at while much is printed."""
        for _ in range(16):
            try:
                part = os.read(self.printing, 1 << 16)
            except BlockingIOError:
                return
            self.printed += len(part)
            self.head += part[: HEAD - len(self.head)]
            self.tail = (self.tail + part)[-HEAD:]
            if not part:
                self.wake.clear()  # all who could print have closed their ends
            if not part or self.printed > self.limits.output:
                return

    def _memory(self):
        """Resident bytes of the worker and all that it started; 0 where the system does not tell."""
        return sum(resident(pid) for pid in descendants(self.process.pid))

    def stop(self) -> None:
        """End the process and everything that it started."""
        if self.process is None:
            return
        with contextlib.suppress(OSError):
            self._drain()
        pids = descendants(self.process.pid)[1:]
        if self.first is not None:
            self._end_all(self.first)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.trusted:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # it may hang in the kernel
            self.process.wait(PATIENCE)
        for file in (self.requests, self.answers, self.printing):
            os.close(file)
        self.process = self.first = None

    @staticmethod
    def _end_all(first):
        """End the first process in the walls: the kernel ends all others there before that one is gone."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(first, signal.SIGKILL)
        poll = select.poll()
        poll.register(first, select.POLLIN)
        poll.poll(1000 * PATIENCE)
        os.close(first)


TELLS = ("kind", "blank", "memory", "raised")  # what a worker may say about an answer


class _Exceeded(Exception):
    pass
