"""The walls around a student's code: bubblewrap where the system has it, limits and a watch on memory.

Inside there is a read-only system without network, without other processes, and with nothing of this user
but the interpreter, its packages and the library, the assignments left out. Marks and expected values
never enter; the worker's end is the end of all that it started.
"""

import contextlib
import functools
import os
import re
import secrets
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

import course_lib
from course_lib.book.pages import BookError
from course_lib.homework import calls, wire

__all__ = ["Failure", "Limits", "Worker", "why_not"]

FOLDER = Path(__file__).parent / "assignments"
NOBODY = 65534  # who runs a student's code where root grades
HEAD = 8_000  # bytes kept of what is printed
START = 120.0  # seconds for the imports, on a busy machine
PATIENCE = 5.0  # seconds for the kernel to end what is killed
HELD = re.compile(rb"^(?:RssAnon|RssShmem|VmSwap):\s*(\d+) kB$", re.MULTILINE)


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
            passed.append(_filter())
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
                env=_environment(),
                cwd="/",
                start_new_session=True,
                **options,
            )
        except OSError as error:
            for file in (self.requests, self.answers, self.printing):
                os.close(file)
            raise BookError(f"the worker does not start: {error} → {_readable_hint()}") from error
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
            raise BookError(f"the worker does not start: {said or error!r} → {_readable_hint()}") from error
        if ready != {"ready": True}:
            self.stop()
            raise BookError(f"the worker answers {ready!r} → install course_lib again")
        self.baseline, self.first = self._memory(), _first(self.process.pid)

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
        return sum(_resident(pid) for pid in _descendants(self.process.pid))

    def stop(self) -> None:
        """End the process and everything that it started."""
        if self.process is None:
            return
        with contextlib.suppress(OSError):
            self._drain()
        pids = _descendants(self.process.pid)[1:]
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


def _descendants(pid):
    found, waiting = [], [pid]
    while waiting and len(found) < 10_000:
        pid = waiting.pop()
        found.append(pid)
        with contextlib.suppress(OSError, ValueError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children") as file:
                    waiting += map(int, file.read().split())
    return found


def _resident(pid):
    """Bytes that a process holds, without files: its own, shared with its children, and swapped out."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return 1024 * sum(map(int, HELD.findall(file.read())))
    except OSError:
        return 0


def _first(pid):
    """A handle of the first process in a process's walls; None without walls."""
    for each in _descendants(pid):
        with contextlib.suppress(OSError):
            with open(f"/proc/{each}/status") as file:
                numbers = re.search(r"^NSpid:(.*)$", file.read(), re.MULTILINE)
            if numbers and numbers[1].split()[1:] and numbers[1].split()[-1] == "1":
                return os.pidfd_open(each)
    return None


# --- the walls --------------------------------------------------------------------------------------


def _environment():
    """Nothing of the caller's environment but where shared libraries of the interpreter lie."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    names = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "USER": "student", "LOGNAME": "student", "LANG": "C.UTF-8"}
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    python = {"PYTHONHASHSEED": "0", "MPLBACKEND": "Agg", "MPLCONFIGDIR": "/tmp/matplotlib"}
    return kept | names | threads | python | {"TMPDIR": "/tmp"}


@functools.cache
def _needed():
    """The folders that the interpreter, its packages and the library lie in, beyond /usr.

    Not a whole prefix: an environment may have been made in the folder where marks and keys are.
    """
    prefixes = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]}
    parts = [prefix / name for prefix in prefixes for name in ("bin", "lib", "lib64", "share", "pyvenv.cfg")]
    folders = {part for part in parts if part.exists() and not part.is_symlink()} | {Path(course_lib.__path__[0])}
    folders |= {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}
    folders |= {Path(entry) for entry in sys.path if entry and Path(entry).is_dir() and "site-packages" in entry}
    folders = {Path(os.path.abspath(f)) for f in folders}
    usr = Path("/usr")
    outside = {f for f in folders if f != usr and usr not in f.parents}
    return sorted(f for f in outside if not any(other in f.parents for other in outside))


@functools.cache
def walls() -> list[str]:
    """The command before the command: bubblewrap, and before it, for root, the loss of root's rights."""
    bwrap = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin:" + os.environ.get("PATH", ""))
    if bwrap is None:
        raise BookError(f"bubblewrap is not installed → {INSTALL}")
    inner = [bwrap, "--unshare-user", "--disable-userns", "--unshare-all", "--die-with-parent", "--new-session"]
    inner += ["--clearenv", *(x for name, value in _environment().items() for x in ("--setenv", name, value))]
    inner += ["--ro-bind", "/usr", "/usr"]
    for folder in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(folder):
            inner += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            inner += ["--ro-bind", folder, folder]
    if os.path.exists("/etc/ld.so.cache"):
        inner += ["--ro-bind", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    inner += ["--size", str(64 << 20), "--tmpfs", "/tmp"]  # first: what is needed may lie below it
    for folder in _needed():
        inner += ["--ro-bind", str(folder), str(folder)]
    if FOLDER.is_dir():  # solutions are public, but need not lie at hand
        inner += ["--tmpfs", str(FOLDER), "--remount-ro", str(FOLDER)]
    inner += ["--proc", "/proc", "--dev", "/dev"]
    inner += ["--size", str(64 << 20), "--tmpfs", "/dev/shm", "--remount-ro", "/dev", "--remount-ro", "/"]
    return [*_without_root(), *inner, "--chdir", "/tmp"]


def _filter():
    """A file to read the filter of system calls from."""
    reading, writing = os.pipe()
    os.write(writing, calls.program())
    os.close(writing)
    return reading


def _without_root():
    """For root: become nobody, and let nobody see the interpreter even where it lies in root's home."""
    if os.geteuid() != 0:
        return []
    hidden = {}
    for folder in _needed():
        blocked = next((p for p in reversed(folder.parents) if not p.stat().st_mode & 0o001), None)
        if blocked is not None:
            hidden.setdefault(blocked, []).append(folder)
    # In a process namespace all end with its first process, root's. Nobody's get no signal when root's end.
    view = [shutil.which("bwrap"), "--unshare-pid", "--die-with-parent"]
    view += ["--bind", "/", "/", "--dev-bind", "/dev", "/dev"]
    for blocked, folders in hidden.items():
        view += ["--tmpfs", str(blocked)]
        for folder in folders:
            between = [p for p in reversed(folder.parents) if blocked in p.parents]
            view += [x for p in between for x in ("--perms", "0755", "--dir", str(p))]
            view += ["--ro-bind", str(folder), str(folder)]
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all"]
    return [*(view if hidden else []), *drop, "--no-new-privs", "--"]


INSTALL = (
    "install it (Debian, Ubuntu: apt install bubblewrap), or give --i-trust-these-submissions: then code of "
    "strangers runs with your rights"
)


def _readable_hint():
    if os.geteuid() == 0:
        return "grade as another user than root, or with an interpreter that every user can read"
    return "see whether `course homework grade` works with one submission of your own"


@functools.cache
def why_not() -> str:
    """Why submissions cannot be run inside walls here; "" where they can."""
    if sys.platform != "linux":
        return f"{sys.platform} has no bubblewrap → grade on Linux, or give --i-trust-these-submissions"
    file = _filter()
    try:
        command = [*walls(), "--seccomp", str(file), "--", "true"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL, pass_fds=[file]
        )
    except BookError as error:
        return str(error)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap fails: {error} → {INSTALL}"
    finally:
        os.close(file)
    if done.returncode:
        return (
            f"bubblewrap fails: {done.stderr.strip()} → version 0.8 or later, and user namespaces for "
            "everyone, are needed; or give --i-trust-these-submissions"
        )
    return ""
