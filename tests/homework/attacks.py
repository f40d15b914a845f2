"""Submissions that the grader must survive, each with its documented outcome. They aim at target.md.

A case changes answers of an otherwise fair notebook (questions 1 and 3 right, the rest blank) or lays down a
file. `rows` is what comes out where it differs from the fair one: question → (reason, points). A probe gives
the right answer only if it got through the walls, so that a point for it is a hole.
In the sources, @SECRET@, @PORT@ and @MARK@ stand for what test_attacks puts in reach without walls.
"""

import json
import os
import socket
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["CASES", "FAIR", "Case"]

FAIR = {"q1": ("ok", 2), "q2": ("blank", 0), "q3": ("ok", 3)} | dict.fromkeys(("q4", "q5", "q6"), ("blank", 0))
FULL = {"q1": ("ok", 2), "q2": ("ok", 4), "q3": ("ok", 3), "q4": ("ok", 3), "q5": ("ok", 3), "q6": ("by-hand", None)}
ROOT = os.geteuid() == 0


@dataclass(frozen=True)
class Case:
    """One submission.

    tries: what the student hopes for.   answers: question → source of its cell, "right" for the solution.
    rows: see above.   reason: of the whole submission.   flags: of the record.
    change: what else happens to the notebook (a dict), before it is written.
    place: (folder of the student, text of the notebook, name) → writes the submission itself.
    outside: the probe finds what it looks for where there are no walls.
    """

    name: str
    tries: str
    answers: dict = field(default_factory=dict)
    rows: dict = field(default_factory=dict)
    reason: str = "ok"
    flags: tuple = ()
    change: Callable | None = None
    place: Callable | None = None
    outside: bool = False

    @property
    def outcome(self) -> dict:
        """The documented reason and points of every question."""
        if self.reason != "ok":
            return dict.fromkeys(FAIR, (self.reason, 0))
        return FAIR | self.rows


CASES: list[Case] = []


def case(name, tries, **more):
    """Add a case."""
    CASES.append(Case(name, tries, **more))


def function(name, tries, source, reason, points=0, **more):
    """A case that answers question 2, the function, with `source`."""
    rows = {"q2": (reason, points)} | more.pop("rows", {})
    case(name, tries, answers={"q2": textwrap.dedent(source).strip()}, rows=rows, **more)


def body(name, tries, source, reason, points=0, **more):
    """A case whose function of question 2 has `source` as its body."""
    inner = textwrap.indent(textwrap.dedent(source).strip(), "    ")
    function(name, tries, f"import os, sys, time, torch\ndef normalise(x):\n{inner}", reason, points, **more)


def probe(name, tries, source, **more):
    """A case whose `source` sets `found` to something true where it got through."""
    inner = textwrap.indent(textwrap.dedent(source).strip(), "    ")
    text = (
        f"import ctypes, os, socket, sys\nfound = None\ntry:\n{inner}\nexcept Exception as error:\n    print(error)\n"
    )
    text += "def normalise(x):\n    return x / x.sum() if found else x * 0"
    function(name, tries, text, "wrong", **more)


# --- looking for the answer in the process ------------------------------------------------------------

body(
    "frames",
    "finds the expected value among the callers' variables",
    """
    frame = sys._getframe()
    while frame:
        for name in ("want", "expected", "reference", "solution"):
            if name in frame.f_locals:
                return frame.f_locals[name]
        frame = frame.f_back
    return x * 0
    """,
    "wrong",
)
body(
    "garbage",
    "finds the expected value among all objects",
    """
    import gc
    for held in gc.get_objects():
        if type(held) is torch.Tensor and held is not x and held.shape == x.shape and abs(held.sum() - 1) < 1e-9:
            return held
    return x * 0
    """,
    "wrong",
)
function(
    "trace",
    "records every local variable of every function that runs",
    """
    import sys
    kept = []
    def spy(frame, event, argument):
        kept.extend(v for k, v in frame.f_locals.items() if k in ("want", "expected", "close"))
        return spy
    sys.settrace(spy)
    sys.setprofile(spy)
    def normalise(x):
        return kept[-1] if kept else x * 0
    """,
    "wrong",
)
probe(
    "modules",
    "imports the referee's modules and the assignments with their solutions",
    """
    import course_lib.homework.source as source
    found = [m for m in sys.modules if m.endswith(("referee", "questions"))] or source.names()
    found = found or any("BEGIN SOLUTION" in p.read_text() for p in source.FOLDER.iterdir())
    """,
    outside=True,
)
body(
    "patch",
    "makes every comparison true",
    """
    import builtins, numpy
    for module, names in {torch: ("equal", "allclose", "isclose", "all"), numpy: ("allclose", "isclose", "all"),
                          builtins: ("abs", "all")}.items():
        for name in names:
            setattr(module, name, lambda *args, **named: True)
    return x * 0
    """,
    "wrong",
)
body(
    "patch-judge",
    "replaces the judge's functions, and pytest",
    """
    import types
    from course_lib.homework import questions, referee
    questions.compare = referee.compare = lambda *args: ("ok", "")
    referee.Referee.judge = lambda *args: [{"points": 4}]
    sys.modules["pytest"] = types.ModuleType("pytest")
    return x * 0
    """,
    "wrong",
)
function(
    "transform",
    "rewrites what is parsed and evaluated, as an input transformer",
    """
    import ast
    parse = ast.parse
    ast.parse = lambda code, *args, **named: parse("True", *args, **named)
    """,
    "kind",
    rows={"q1": ("kind", 0), "q3": ("kind", 0), "q4": ("wrong", 0), "q5": ("wrong", 0)},
)
body(
    "lies",
    "returns an object that equals everything",
    """
    class Lie:
        __eq__ = lambda self, other: True
        __float__ = lambda self: 1.0
        __array__ = lambda self, *args, **named: x.numpy()
        __torch_function__ = classmethod(lambda cls, *args, **named: True)
        __reduce__ = lambda self: (os.system, ("touch /tmp/owned",))
        shape, dtype, __hash__, __class__ = x.shape, x.dtype, None, torch.Tensor
    return Lie()
    """,
    "raised",
)
case(
    "lying-numbers",
    "answers with subclasses of int and float that equal everything",
    answers={
        "q1": "class I(int):\n    __eq__ = lambda self, other: True\n    __hash__ = None\nbatches = I(3)\n"
        "class F(float):\n    __eq__ = I.__eq__\n    __hash__ = None\nlast = F(3)"
    },
    rows={"q1": ("kind", 0)},
)
body(
    "lying-text",
    "returns a subclass of str",
    "return type('T', (str,), {'__eq__': lambda self, other: True, '__hash__': None})('x')",
    "kind",
)
body(
    "lying-tensor",
    "returns a tensor of a subclass that equals everything",
    """
    class Lie(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            if "eq" in str(function) or "close" in str(function):
                return True
            return super().__torch_function__(function, types, args, kwargs or {})
    return (x * 0).as_subclass(Lie)
    """,
    "wrong",
)
body("prints-a-score", "prints a score", 'print(\'{"points": 4, "reason": "ok"}\')\nreturn x * 0', "wrong")
function(
    "deletes-the-test",
    "removes the assertions of whatever is compiled, and the checks of the notebook",
    """
    import builtins, course_lib.homework.check as check
    check.Check.__call__ = lambda *args: None
    builtins.compile = lambda *args, **named: None
    def normalise(x):
        return x * 0
    """,
    "raised",
    rows={"q1": ("raised", 0), "q3": ("raised", 0), "q4": ("raised", 0), "q5": ("raised", 0)},
)

# --- looking outside ----------------------------------------------------------------------------------

probe(
    "submissions",
    "reads the folder of the submissions, and what lies beside it",
    "found = [p for p in ('@SECRET@', '@SECRET@/..') if os.path.exists(p) and os.listdir(p)]",
    outside=True,
)
probe("key", "reads the instructor's key", "found = open('@SECRET@/homework.key').read()", outside=True)
probe(
    "environment",
    "reads the environment of every process it can see",
    """
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found = found or "@MARK@" in open(f"/proc/{pid}/environ").read()
        except OSError:
            pass
    """,
    outside=True,
)
probe(
    "other-processes",
    "looks for the grader and the referee among the processes, and into their memory",
    """
    for pid in filter(str.isdigit, os.listdir("/proc")):
        found = found or "@MARK@" in open(f"/proc/{pid}/cmdline").read()
    """,
    outside=True,
)
probe(
    "files-held-open",
    "uses files that the grader left open",
    """
    given = {0, 1, 2, *map(int, sys.argv[1:3])}
    for name in set(map(int, os.listdir("/proc/self/fd"))) - given:
        try:
            found = found or os.readlink(f"/proc/self/fd/{name}") != "/proc/self/fd" and os.fstat(name) and name
        except OSError:
            pass
    """,
)
probe(
    "loopback",
    "connects to a server on this machine",
    "found = socket.create_connection(('127.0.0.1', @PORT@), 1)",
    outside=True,
)
probe(
    "network",
    "has an interface other than its own loopback",
    "found = [name for _, name in socket.if_nameindex() if name != 'lo']",
)
probe(
    "abstract-socket",
    "connects to a socket without a file",
    "s = socket.socket(socket.AF_UNIX)\ns.connect('\\0@MARK@')\nfound = s",
    outside=True,
)
probe(
    "namespace",
    "makes a user namespace, to be root in it",
    "libc = ctypes.CDLL(None)\nfound = libc.unshare(0x10000000) == 0 or libc.unshare(0x10020000) == 0",
)
probe(
    "mount",
    "mounts, remounts and unmounts",
    """
    libc = ctypes.CDLL(None)
    found = libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0 or libc.umount2(b"/tmp", 2) == 0
    found = found or libc.mount(None, b"/", None, 32, None) == 0
    """,
)
probe(
    "root",
    "becomes root, by itself or by a program that is setuid",
    """
    import subprocess
    for become in (os.setuid, os.setgid, os.seteuid):
        try:
            become(0)
            found = True
        except OSError:
            pass
    for command in ("su -c id", "sudo -n id", "mount -t tmpfs x /tmp", "passwd -d root"):
        try:
            found = found or subprocess.run(command.split(), capture_output=True, timeout=1).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            pass
    status = open("/proc/self/status").read()
    found = found or os.getuid() == 0 or "NoNewPrivs:\\t1" not in status or "CapBnd:\\t0000000000000000" not in status
    """,
)
probe(
    "signals",
    "kills everything that it may",
    """
    import signal
    for pid in (1, os.getppid(), -1):
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(pid, number)
            except OSError:
                pass
    """,
)
probe(
    "ptrace",
    "traces the first process and reads its memory",
    """
    libc = ctypes.CDLL(None)
    found = libc.ptrace(16, 1, None, None) == 0 or libc.ptrace(0, 0, None, None) == 0
    """,
)
probe(
    "writes",
    "writes outside its folder",
    """
    import course_lib, torch
    from course_lib.homework.source import FOLDER
    places = ["/", "/usr", "/dev", "/usr/bin", str(FOLDER), course_lib.__path__[0], os.path.dirname(torch.__file__)]
    for place in places + [sys.prefix, "/proc/sys/kernel", os.path.expanduser("~root"), "@SECRET@"]:
        try:
            open(os.path.join(place, "core_pattern"), "w").close()
            found = place
        except OSError:
            pass
    """,
)
probe(
    "hidden-memory",
    "takes memory that no process shows",
    """
    libc = ctypes.CDLL(None)
    number = {"x86_64": 319, "aarch64": 279}[os.uname().machine]
    found = libc.syscall(number, b"x", 0) >= 0 or libc.shmget(0, 4096, 0o1600) >= 0
    """,
    outside=True,
)

# --- forged, replayed and broken messages ---------------------------------------------------------------

FORGE = """
import json, os, struct, sys, time, threading
def current():
    frame = sys._getframe()
    while type(frame.f_locals.get("request")) is not dict:
        frame = frame.f_back
    return frame.f_locals["request"]["id"]
def write(data):
    data = memoryview(data)
    while data:
        data = data[os.write(int(sys.argv[2]), data):]
def reply(more, body=b"", text=None):
    text = text or json.dumps({"id": current()} | more).encode()
    write(struct.pack(">4sIQ", b"HW01", len(text), len(body)) + text + body)
def normalise(x):
"""


def forged(name, tries, source, reason="malformed", **more):
    """A case whose function writes to the grader itself."""
    inner = textwrap.indent(textwrap.dedent(source).strip(), "    ")
    function(name, tries, FORGE + inner + "\n    return x * 0", reason, **more)


forged("junk", "writes noise", "write(os.urandom(1 << 16))")
forged("other-id", "answers a question that was not asked", 'reply({"id": "0" * 32, "value": 1})')
forged("marks", "sends marks in place of a value", 'reply({"done": [{"points": 4, "reason": "ok"}]})')
forged("marks-beside", "sends marks beside a value", 'reply({"value": 1, "points": 4})')
forged("own-reason", "claims a reason that brings points", 'reply({"failure": ["ok", ""]})')
forged("huge-length", "announces more than there is memory", 'write(struct.pack(">4sIQ", b"HW01", 2**32 - 1, 2**63))')
forged("half", "begins an answer and does not end it", 'write(b"HW01")\ntime.sleep(60)', "timeout")
forged(
    "drip",
    "sends a byte at a time",
    'write(struct.pack(">4sIQ", b"HW01", 9999, 0))\nwhile True: write(b" ")',
    "malformed",
)
forged("deep", "nests without end", 'reply({}, text=b"[" * 90_000 + b"]" * 90_000)')
forged("deep-value", "nests a value", 'v = 1\nfor _ in range(200): v = {"l": [v]}\nreply({"value": v})')
forged("brackets", "sends a million lists", 'reply({}, text=b"[" + b"[]," * 300_000 + b"[]]")')
forged(
    "impossible-shape",
    "claims an empty array of 2^80 rows",
    'reply({"value": {"a": ["torch", "float64", [2**39, 2**39, 0], 0]}})',
)
forged(
    "beyond",
    "claims an array that lies beyond its bytes",
    'reply({"value": {"a": ["torch", "float64", [10**6], 0]}}, b"x" * 8)',
)
forged("negative", "claims a negative shape", 'reply({"value": {"a": ["torch", "float64", [-1, -8], 0]}}, b"x" * 64)')
forged(
    "overlap",
    "claims one array many times",
    'a = {"a": ["torch", "float64", [8], 0]}\nreply({"value": {"l": [a] * 999}}, b"x" * 64)',
)
forged("odd-dtype", "claims an array of objects", 'reply({"value": {"a": ["numpy", "object", [1], 0]}}, b"x" * 8)')
forged("same-names", "sends a dict with a name twice", 'reply({"value": {"d": [["a", 1], ["a", 2]]}})')
forged("long-numbers", "sends a number of a million digits", 'reply({}, text=b\'{"value": \' + b"9" * 10**6 + b"}")')
forged(
    "grows",
    "sends text that is longer when it is sent on",
    'text = json.dumps({"id": current(), "value": "é" * 900_000}, ensure_ascii=False).encode()\nreply({}, text=text)',
)
forged(
    "bool-bytes",
    "sends bools that are neither",
    'reply({"value": {"a": ["torch", "bool", list(x.shape), 0]}}, b"\\x07" * 64)',
    "dtype",
)
forged(
    "odd-text",
    "sends half a pair and control characters, for whoever writes or shows the record",
    'reply({"value": "\\ud800\\x00\\x1b[31m\\u202e<script>"})',
    "kind",
)
forged(
    "infinite",
    "sends a number that is none",
    'reply({}, text=(\'{"id": "%s", "value": 1e999}\' % current()).encode())',
    "kind",
)
forged(
    "replay",
    "sends an answer twice, before the next question",
    """
    kept = json.dumps({"id": current(), "value": 1})
    threading.Timer(0.1, lambda: reply({}, text=kept.encode())).start()
    time.sleep(0.3 if normalise.__dict__.setdefault("calls", []) else 0)
    normalise.calls.append(1)
    return x / x.sum()
    """,
)
forged("closes-the-pipe", "closes the way back", "os.close(int(sys.argv[2]))", "died")
forged(
    "leads-the-pipe-away",
    "leads the way back elsewhere",
    "os.dup2(os.open('/dev/null', 1), int(sys.argv[2]))",
    "died",
)
forged("both-answer", "forks, and both processes answer", "os.fork()\nreturn x / x.sum()")
forged(
    "reads-its-own-answers",
    "takes its answer out of the pipe again, so that the grader waits for it",
    """
    way = os.open(f"/proc/self/fd/{sys.argv[2]}", os.O_RDONLY | os.O_NONBLOCK)
    write(struct.pack(">4sIQ", b"HW01", 1, 32 << 20) + b"7")
    time.sleep(0.3)  # the grader has read that and waits for 32 MB
    while True:
        write(b"x")
        try:
            os.read(way, 1)
        except BlockingIOError:
            pass
    """,
    "raised" if ROOT else "timeout",  # root's pipes cannot be opened by others
)
forged(
    "asks-itself",
    "puts questions of its own into the pipe",
    """
    question = json.dumps({"id": "x", "cell": "1", "name": "q9", "seed": 1}).encode()
    way = os.open(f"/proc/self/fd/{sys.argv[1]}", os.O_WRONLY)
    os.write(way, struct.pack(">4sIQ", b"HW01", len(question), 0) + question)
    return x / x.sum()
    """,
    "raised" if ROOT else "malformed",
)
function(
    "wire-lies",
    "has the worker describe its values as what they are not",
    """
    from course_lib.homework import wire
    wire.check = lambda tree, body: None
    wire.encode = lambda value: ({"a": ["torch", "float64", [2**20, 2**20], 0]}, b"")
    def normalise(x):
        return x
    """,
    "malformed",
    rows={"q1": ("malformed", 0), "q3": ("malformed", 0)},
)
function(
    "json-lies",
    "has the worker write marks for JSON",
    """
    import json
    dumps = json.dumps
    json.dumps = lambda value, **more: dumps({"points": 4, "reason": "ok"} if "id" in value else value, **more)
    def normalise(x):
        return x
    """,
    "malformed",
)

# --- taking time, memory, room ------------------------------------------------------------------------

body("loop", "never ends", "while True: pass", "timeout")
function("loop-in-cell", "never ends, before there is a function", "while True: pass", "timeout")
body(
    "ignores-signals",
    "ignores all signals and never ends",
    """
    import signal
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    while True: time.sleep(1)
    """,
    "timeout",
)
body(
    "sleep-in-c",
    "sleeps in C, where no Python signal is handled",
    "import ctypes\nctypes.CDLL(None).sleep(600)",
    "timeout",
)
body("stops", "stops itself", "import signal\nos.kill(os.getpid(), signal.SIGSTOP)", "timeout")
body("becomes-another", "becomes another program", "os.execv('/bin/sleep', ['sleep', '600'])", "timeout")
body(
    "threads",
    "keeps many threads busy",
    """
    import hashlib, threading
    def busy():
        while True: hashlib.pbkdf2_hmac("sha256", b"a", b"b", 10**7)
    for _ in range(40): threading.Thread(target=busy).start()
    busy()
    """,
    "timeout",
)
body("regex", "searches with a pattern that never ends", "import re\nreturn re.match(r'(a+)+b', 'a' * 50)", "timeout")
body("fork-bomb", "forks without end", "while True:\n    try: os.fork()\n    except OSError: pass", "memory")
body(
    "daemon",
    "leaves a process behind, out of reach by two forks and a session of its own",
    """
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for file in range(3): os.close(file)
            os.execv("/bin/sleep", ["sleep", "@DAEMON@"])
        os._exit(0)
    os.wait()
    return x / x.sum()
    """,
    "ok",
    4,
)
body("memory", "takes more memory than there is, at once", "bytearray(10**11)", "memory")
body(
    "memory-slowly",
    "takes more and more memory",
    "import numpy\nheld = []\nwhile True: held.append(numpy.empty(10**7))",
    "memory",
)
body(
    "memory-of-many",
    "takes memory in many processes, less than the limit in each",
    """
    for _ in range(12):
        if os.fork() == 0:
            held = bytearray(os.urandom(1)) * 400_000_000
            time.sleep(60)
    time.sleep(60)
    """,
    "memory",
)
body(
    "shared-memory",
    "takes memory that many processes share, less than the limit in each",
    """
    import mmap
    held = mmap.mmap(-1, 256 << 20)
    held.write(bytes(256 << 20))
    for _ in range(8):
        if os.fork() == 0:
            held[::4096]
            time.sleep(60)
    time.sleep(60)
    """,
    "memory",
)
body(
    "fills-tmp",
    "fills /tmp",
    """
    for i in range(10):
        with open(f"/tmp/{i}", "wb") as file: file.write(bytes(32 << 20))
    """,
    "raised",
)
body("large-file", "writes one huge file", "open('/dev/shm/x', 'wb').write(bytes(200 << 20))", "raised")
body("files", "opens files without end", "held = []\nwhile True: held.append(open('/dev/null'))", "raised")
body("prints", "prints 200 MB", "for _ in range(200): print('x' * (1 << 20))\nreturn x / x.sum()", "output")
body("prints-errors", "prints without end to standard error", "while True: os.write(2, b'x' * 65536)", "output")
body("prints-elsewhere", "has other programs print without end", "import subprocess\nsubprocess.run('yes')", "output")
body("segfault", "reads where there is nothing", "import ctypes\nctypes.string_at(0)", "died")
body("recursion", "calls itself without end", "return normalise(x)", "raised")
body(
    "deep-recursion",
    "calls itself in C until the stack is full",
    """
    sys.setrecursionlimit(10**9)
    class A:
        def __getattr__(self, name): return getattr(self, name + "x")
    f = lambda: sorted([0], key=lambda _: f())
    f()
    """,
    "died",
)
body("exit", "leaves by sys.exit", "sys.exit(0)", "raised")
body("hard-exit", "leaves at once", "os._exit(0)", "died")
function("exit-in-cell", "leaves before there is a function", "import sys\nsys.exit(0)", "raised")
function("hard-exit-in-cell", "leaves at once, before there is a function", "import os\nos._exit(0)", "died")
body("alarm", "sets an alarm and waits for it", "import signal\nsignal.alarm(1)\ntime.sleep(1.8)", "died")
body(
    "dumps",
    "has itself ended by faulthandler",
    "import faulthandler\nfaulthandler.dump_traceback_later(0.1, exit=True)\ntime.sleep(1.5)",
    "died",
)
case(
    "ends-in-an-added-cell",
    "leaves in a cell that is no answer: the answers count",
    rows={},
    change=lambda notebook: notebook["cells"].insert(3, code("mine", "import os\nos._exit(1)")),
    flags=("added cells that ended the worker: extra-1",),
)

# --- odd values ---------------------------------------------------------------------------------------

for name, value, reason in [
    ("meta", "torch.empty(3, device='meta')", "kind"),
    ("sparse", "x.to_sparse()", "kind"),
    ("quantised", "torch.quantize_per_tensor(x.float(), 0.1, 0, torch.quint8)", "kind"),
    ("nan", "x * float('nan')", "nan"),
    ("infinite-entries", "x / 0", "nan"),
    ("shape", "(x / x.sum())[None]", "shape"),
    ("no-rows", "x[:0]", "shape"),
    ("dtype", "(x / x.sum()).float()", "dtype"),
    ("array", "(x / x.sum()).numpy()", "kind"),
    ("list", "(x / x.sum()).tolist()", "kind"),
    ("generator", "(v for v in x)", "kind"),
    ("million-keys", "{str(i): 0 for i in range(10**6)}", "kind"),
    ("long-text", "'x' * 10**8", "kind"),
    ("long-integer", "10**10_000", "kind"),
    ("nested", "[held for held in [[]] if held.append(held) is None]", "kind"),
    ("nothing", "None", "kind"),
]:
    body(f"value-{name}", f"returns an odd value: {name}", f"return {value}", reason)
case(
    "frame-of-objects",
    "answers with a table of objects",
    answers={"q5": "import pandas as pd\ntable = pd.DataFrame({'seed': [object()] * 4, 'mean': [{1}, 2, 3, 4]})"},
    rows={"q5": ("kind", 0)},
)
case(
    "invented-table",
    "answers with a table that nobody measured: its form counts, its rows do not",
    answers={"q5": "table = {'seed': [0, 1, 2, 3], 'mean': [0.5, 0.5, 0.5, 0.5]}"},
    rows={"q5": ("wrong", 1)},
)
for name, value in [
    ("nan", "{'slope': torch.tensor(float('nan')), 'offset': torch.tensor(0.5)}"),
    ("large", "{'slope': torch.zeros(10**6), 'offset': torch.zeros(10**6)}"),
    ("numbers", "{'slope': SLOPE, 'offset': 0.5}"),
    ("list", "[SLOPE, 0.5]"),
    ("text", "{'slope': 'right', 'offset': 'right'}"),
]:
    case(
        f"model-{name}",
        f"leaves weights that are no tensors as asked for: {name}",
        answers={"q4": f"weights = {value}"},
        rows={"q4": ("wrong", 0)},
    )

# --- fair answers, written otherwise --------------------------------------------------------------------

case("right", "the solutions", answers=dict.fromkeys(FAIR, "right"), rows=FULL)
case("blank", "nothing", answers={"q1": None, "q3": None}, rows={"q1": ("blank", 0), "q3": ("blank", 0)})
case(
    "other-style",
    "a lambda, NumPy, a property, pandas, gradients, magics: all right",
    answers={
        "q1": "%matplotlib inline\nimport numpy as np\nbatches = np.ceil(ROWS / SIZE)\n"
        "last = torch.tensor(ROWS % SIZE or SIZE)",
        "q2": "normalise = lambda x: (lambda w: w / w.sum())(x.clone().requires_grad_())",
        "q3": "!pip list\nclass Mean(list):\n    add = list.append\n"
        "    value = property(lambda self: sum(self) / (len(self) or 1))",
        "q4": "weights = dict(slope=torch.nn.Parameter(torch.tensor(SLOPE)), offset=torch.tensor(0.5).double())",
        "q5": "import pandas as pd\ndraw = torch.Generator().manual_seed\n"
        "rows = [(s, torch.rand(SIZE, generator=draw(s)).mean().item()) for s in (3, 1, 2, 0)]\n"
        "table = pd.DataFrame(rows, columns=['seed', 'mean']).assign(note='measured')",
        "q6": "To compare.\n\n<script>alert(1)</script>",
    },
    rows=FULL,
)
body("subclass", "returns a right tensor of a subclass", "return torch.nn.Parameter(x / x.sum())", "ok", 4)


def code(name, source, **metadata):
    """A code cell."""
    return {
        "cell_type": "code",
        "id": name,
        "metadata": metadata,
        "source": source,
        "outputs": [],
        "execution_count": 1,
    }


def cell(notebook, name):
    """The cell with an id."""
    return next(cell for cell in notebook["cells"] if cell["id"] == name)


def split(notebook):
    whole = cell(notebook, "q3")
    whole["source"] = whole["source"].split("    def add")[0] + "    pass"
    rest = "Mean.add = lambda self, value: self.__dict__.update(total=self.total + value, count=self.count + 1)\n"
    rest += "Mean.value = property(lambda self: self.total / max(self.count, 1))"
    place = notebook["cells"].index(whole)
    notebook["cells"].insert(place + 1, code("rest", rest, tags=["answer", "q3"]))


case("split-cell", "an answer in two cells, as the editor splits them: right", change=split)


def as_colab(notebook, tags):
    for each in notebook["cells"]:
        del each["id"]
        each["metadata"] = {"id": "x7", **({"tags": each["metadata"].get("tags", [])} if tags else {})}
    notebook["metadata"] = {"colab": {"provenance": []}, "kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook["nbformat_minor"] = 0


for name, tries, tags in [("colab", "ids lost, as Colab saves", True), ("colab-bare", "ids and tags lost", False)]:
    change = lambda notebook, tags=tags: as_colab(notebook, tags)  # noqa: E731
    case(name, f"{tries}: right", answers=dict.fromkeys(FAIR, "right"), rows=FULL, change=change)

# --- odd notebooks --------------------------------------------------------------------------------------


def edit_locked(notebook):
    for name in ("constants", "q1-check", "q2-check"):
        cell(notebook, name)["source"] = "ROWS, SIZE = 1, 1"


def delete_locked(notebook):
    notebook["cells"] = [each for each in notebook["cells"] if each["id"] not in ("setup-2", "q3-check")]


def twice(notebook):
    notebook["cells"].append({**cell(notebook, "q3"), "source": "Mean = float"})


def tagged_twice(notebook):
    for each in notebook["cells"]:
        each["id"] = None
    notebook["cells"].append(code("x", "Mean = float", tags=["answer", "q3"]))


def hostile_metadata(notebook):
    odd = [None, 1, "x", [], {}, [[]], {"tags": {"a": 1}}, {"tags": [1, None, [], {}, "answer"]}]
    for each, value in zip(notebook["cells"][::-1], odd * 9, strict=False):
        if each["id"] not in ("q1", "q3"):
            each["metadata"] = value
    notebook["cells"] += [{**code(value, "1"), "execution_count": value} for value in odd]
    notebook["cells"] += [
        {"cell_type": value, "source": value if value is None else ""} for value in odd if value is not None
    ]
    notebook["metadata"] |= {"language_info": [], "course": {"homework": "target", "student": {"$ne": 1}}, "x": odd}


case(
    "locked-edited",
    "changes its constants and the checks: they are ours, and it is flagged",
    change=edit_locked,
    flags=("locked cells changed: constants, q1-check, q2-check",),
)
case(
    "locked-deleted",
    "deletes set-up and check cells: they are ours, and it is flagged",
    change=delete_locked,
    flags=("locked cells deleted: setup-2, q3-check",),
)
case("ids-twice", "two cells with an answer's id that differ", rows={"q3": ("duplicate", 0)}, change=twice)
case("tags-twice", "two cells with an answer's tags that differ", rows={"q3": ("duplicate", 0)}, change=tagged_twice)
case("metadata", "metadata, tags and ids of every wrong type: the answers count", change=hostile_metadata)
case(
    "another-name",
    "says in its metadata that it is somebody else's: the folder counts",
    change=lambda n: n["metadata"].update(course={"homework": "target", "student": "right"}),
)
case(
    "outputs",
    "outputs that say all is right, and that a page or a spreadsheet would run",
    change=lambda n: cell(n, "q2").update(
        outputs=[{"output_type": "display_data", "data": {"text/html": "<script>alert(1)</script>"}, "metadata": {}}]
    ),
)
case(
    "r-kernel",
    "a kernel of another language",
    reason="kernel",
    change=lambda n: n["metadata"].update(kernelspec={"language": "R"}),
)
case(
    "odd-kernel",
    "a kernel that is a list",
    reason="kernel",
    change=lambda n: n["metadata"].update(kernelspec={"language": ["python"]}),
)
case(
    "another-homework",
    "the notebook of another homework",
    reason="wrong-assignment",
    change=lambda n: n["metadata"].update(course={"homework": "hw77_other"}),
)
case("no-cells", "a notebook without cells", reason="wrong-assignment", change=lambda n: n.update(cells=[]))
case(
    "many-cells",
    "a notebook of 50,000 cells",
    reason="unreadable",
    change=lambda n: n.update(cells=[code("x", "")] * 50_000),
)
case(
    "long-cell",
    "a cell of a million characters",
    reason="unreadable",
    change=lambda n: cell(n, "q2").update(source="#" * 10**6),
)
case(
    "odd-source",
    "a cell whose source is a dict",
    reason="unreadable",
    change=lambda n: cell(n, "q2").update(source={"a": 1}),
)
case("odd-cell", "a cell that is a number", reason="unreadable", change=lambda n: n["cells"].append(7))

# --- odd files ------------------------------------------------------------------------------------------


def raw(data):
    """Lays down these bytes, or what is made of the notebook's text, as the submission."""

    def place(folder, text, name):
        (folder / name).write_bytes(data(text) if callable(data) else data)

    return place


def file(name, tries, data, reason="unreadable", **more):
    """A case that hands in bytes."""
    case(name, tries, reason=reason, place=raw(data), **more)


def sparse(folder, text, name):
    with open(folder / name, "wb") as stream:
        stream.write(text.encode())
        stream.truncate(200 << 20)


def link(folder, text, name):
    (folder / name).symlink_to(folder.parent / "right" / name)


def linked_folder(folder, text, name):
    folder.rmdir()
    folder.symlink_to(folder.parent / "right")


def bound_socket(folder, text, name):
    here = os.getcwd()
    os.chdir(folder)  # a socket's path is at most 107 bytes long
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(name)
    os.chdir(here)


def device(folder, text, name):
    if ROOT:
        os.mknod(folder / name, 0o20666, os.makedev(1, 5))  # /dev/zero
    else:
        (folder / name).symlink_to("/dev/zero")


def two(folder, text, name):
    for each in ("first.ipynb", "second.ipynb"):
        (folder / each).write_text(text)


def beside_others(folder, text, name):
    for each in (name, "draft.ipynb", "._draft.ipynb", "notes.txt"):
        (folder / each).write_text(text if each == name else "x")


def odd_name(folder, text, name):
    (folder / "=cmd|'x'!A1\n<script>\udc80.ipynb").write_text(text)


file("empty", "an empty file", b"")
file("noise", "bytes that are no text", bytes(range(256)) * 40)
file("truncated", "a notebook that was cut off", lambda text: text.encode()[: len(text) // 2])
file(
    "deep-json", "JSON that is nested a hundred thousand times", b'{"cells": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
)
file("bracket-bomb", "ten million brackets", b"[" * (10 << 20))
file("comma-bomb", "JSON of five million numbers", b'{"cells": [' + b"1," * 5_000_000 + b"1]}")
file("commas-below-the-limit", "JSON of half a million texts", b'{"cells": [' + b'"abcdefghi",' * 590_000 + b"1]}")
file("digits", "a number of a million digits", b'{"cells": ' + b"9" * 10**6 + b"}")
file("list", "JSON that is no notebook", b"[1, 2]")
file("not-cells", "a notebook whose cells are text", b'{"cells": "all of them"}')
file("latin", "a notebook in Latin-1", lambda text: text.replace("Question", "Fräge").encode("latin-1", "replace"))
file("utf-16", "a notebook in UTF-16", lambda text: text.encode("utf-16"))
file("zeros", "a notebook with NUL bytes", lambda text: text.encode().replace(b" ", b"\0"))
file("python", "the code without a notebook", b"batches = 3\n")
case(
    "byte-order-mark",
    "a notebook that an editor saved with a mark in front: right",
    place=raw(lambda t: t.encode("utf-8-sig")),
)
case("huge", "a notebook of 200 MB", reason="too-large", place=sparse)
case("link", "a link to another student's notebook", reason="not-a-file", place=link)
case("linked-folder", "a folder that is a link to another student's", reason="not-a-file", place=linked_folder)
case(
    "fifo",
    "a pipe that nobody writes to",
    reason="not-a-file",
    place=lambda folder, text, name: os.mkfifo(folder / name),
)
case("socket", "a socket", reason="not-a-file", place=bound_socket)
case("device", "a device that never ends", reason="not-a-file", place=device)
case(
    "folder",
    "a folder with the notebook's name",
    reason="not-a-file",
    place=lambda folder, text, name: (folder / name).mkdir(),
)
case("two", "two notebooks", reason="several-files", place=two)
case("none", "no notebook", reason="missing", place=lambda folder, text, name: None)
case("nobody", "no folder", reason="missing", place=lambda folder, text, name: folder.rmdir())
case("drafts", "the notebook among others and an editor's files: right", place=beside_others)
case("odd-name", "a file name that a spreadsheet or a page would run", place=odd_name)


def written(one: Case, target, notebook: str, fill: dict) -> str:
    """The text of a case's notebook.   notebook: as it was released.   fill: what stands for @NAME@."""
    content = json.loads(notebook)
    for each in content["cells"]:
        answer = ({"q1": "right", "q3": "right"} | one.answers).get(each["id"])
        if answer == "right":
            answer = target.solution(each["id"]) or "Because they add up to one."
        elif answer and each["cell_type"] == "code":
            answer = f"# Question {each['id'][1:]}: answer here. Keep this line.\n{answer}"
        for name, value in fill.items():
            answer = answer and answer.replace(f"@{name}@", value)
        each["source"] = answer or each["source"]
    if one.change:
        one.change(content)
    return json.dumps(content, ensure_ascii=False)


def hand_in(one: Case, folder: Path, text: str, name: str) -> None:
    """Write a case's submission into its student's folder."""
    folder.mkdir()
    (one.place or raw(text.encode("utf-8", "surrogatepass")))(folder, text, name)
