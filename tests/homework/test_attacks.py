"""Hostile submissions among fair ones: what comes out, what is left behind, and what the grader itself takes.

All cases of attacks.py are graded once, by the command, two at a time, with fair ones between them. COURSE_FAIR
sets how many (default 20). Nothing here needs the network; everything hostile runs inside the walls.
"""

import contextlib
import csv
import http.server
import json
import os
import random
import resource
import secrets
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from attacks import CASES, FAIR, ROOT, Case, hand_in, written

from course_lib.book.pages import BookError
from course_lib.homework import processes, records, referee, release, submissions, variants, wire
from course_lib.homework import walls as box
from course_lib.homework.grade import grade
from course_lib.homework.sandbox import Failure, Limits, Worker

FAIR_ONES = int(os.environ.get("COURSE_FAIR", "20"))
MARK = f"mark-{secrets.token_hex(8)}"
COMMAND = [sys.executable, "-c", "import sys; from course_lib.cli import main; sys.exit(main())", "homework"]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap and /proc are Linux's")
pytestmark = LINUX


# --- processes ------------------------------------------------------------------------------------------


def born(pid):
    """(pid, time of birth) of a process that is alive; None of one that has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else (pid, fields[19])


def family(pid):
    """All living descendants of a process."""
    return {found for each in processes.descendants(pid)[1:] if (found := born(each))}


def survivors(seen, seconds=3.0):
    """Those of `seen` that live on after some seconds."""
    end = time.monotonic() + seconds
    while left := {one for one in seen if born(one[0]) == one}:
        if time.monotonic() > end:
            return left
        time.sleep(0.02)
    return set()


def command_lines():
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline") as file:
            yield file.read()


class Watched:
    """A grading command, its descendants, and the most memory that it took itself, in bytes."""

    def __init__(self, *arguments, **options):
        environment = os.environ | {"HOMEWORK_MARK": MARK}
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            **options,
        )
        self.seen, self.peak = set(), 0
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()

    def _watch(self):
        while self.process.returncode is None and born(self.process.pid):
            self.seen |= family(self.process.pid)
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{self.process.pid}/status") as file:
                self.peak = max(self.peak, 1024 * int(file.read().partition("VmHWM:")[2].split()[0]))
            time.sleep(0.05)

    def end(self):
        """(exit status, what it said), after it has ended."""
        said = self.process.communicate()[0].decode()
        self.thread.join()
        return self.process.returncode, said

    def kill(self):
        """End it without a chance to tidy up."""
        self.seen |= family(self.process.pid)
        self.process.kill()
        return self.end()


# --- all cases ------------------------------------------------------------------------------------------

# Answers that fair students give: right, wrong in one way or another, and none. (source, reason, points)
ANSWERS = {
    "q1": [
        ("batches, last = -(-ROWS // SIZE), ROWS - (-(-ROWS // SIZE) - 1) * SIZE", "ok", 2),
        ("batches = (ROWS + SIZE - 1) // SIZE\nlast = ROWS % SIZE or SIZE", "ok", 2),
        ("batches = -(-ROWS // SIZE)\nlast = -1", "wrong", 1),
        ("batches = last = 'many'", "kind", 0),
        (None, "blank", 0),
    ],
    "q2": [
        ("def normalise(x):\n    return x / x.sum()", "ok", 4),
        ("def normalise(x):\n    total = sum(map(float, x))\n    return torch.stack([v / total for v in x])", "ok", 4),
        ("def normalise(x):\n    x /= x.sum()\n    return x", "wrong", 3),
        ("def normalise(x):\n    return x / x.max()", "wrong", 0),
        ("def normalise(x):\n    return x / undefined", "raised", 0),
        (None, "blank", 0),
    ],
    "q3": [
        ("right", "ok", 3),
        ("class Mean:\n    value = 0.0\n    def add(self, value):\n        self.value = value", "wrong", 1),
        ("class Mean:\n    def __init__(self):\n        self.all = []\n    def add(self, value):\n"
         "        self.all.append(value)\n    value = property(lambda s: sum(s.all) / len(s.all))", "raised", 2),
        (None, "blank", 0),
    ],
    "q4": [
        ("weights = {'slope': torch.tensor(SLOPE), 'offset': torch.tensor(0.5)}", "ok", 3),
        ("weights = {'slope': torch.tensor(-SLOPE), 'offset': torch.tensor(0.5)}", "wrong", 0),
        (None, "blank", 0),
    ],
    "q5": [("right", "ok", 3), ("table = {'seed': [0, 1, 2, 3], 'mean': [0.5] * 4}", "wrong", 1), (None, "blank", 0)],
    "q6": [("right", "by-hand", None), (None, "blank", 0)],
}  # fmt: skip


def fair_ones(count):
    """Fair students with their marks: every answer comes up."""
    for i in range(count):
        chosen = {q: choices[(i + i // len(choices)) % len(choices)] for q, choices in ANSWERS.items()}
        rows = {q: answer[1:] for q, answer in chosen.items()}
        yield Case(f"fair-{i:03d}", "to be marked", {q: answer[0] for q, answer in chosen.items()}, rows)


def mixed():
    """Attacks and fair ones, in turns."""
    fair, every = list(fair_ones(FAIR_ONES)), max(1, len(CASES) // max(FAIR_ONES, 1))
    for i, one in enumerate(CASES):
        yield one
        if i % every == 0 and fair:
            yield fair.pop()
    yield from fair


@pytest.fixture(scope="module")
def reachable(tmp_path_factory):
    """What the probes look for: a folder with a key, a server on this machine, a socket without a file."""
    folder = tmp_path_factory.mktemp("course")
    key = variants.make_key(folder / "homework.key")
    with (
        http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server,
        socket.socket(socket.AF_UNIX) as listening,
    ):
        listening.bind(f"\0{MARK}")
        listening.listen()
        fill = {"SECRET": str(folder), "PORT": str(server.server_address[1]), "MARK": MARK}
        fill["DAEMON"] = str(secrets.randbelow(10**9) + 10**6)
        yield SimpleNamespace(folder=folder, key=key, fill=fill)


@pytest.fixture(scope="module")
def outcome(sandbox, reachable, target):
    """All cases, graded once."""
    folder, cases = reachable.folder, list(mixed())
    (folder / "submissions").mkdir()
    for one in cases:
        text = written(one, target, release.student_notebook(target, reachable.key, one.name), reachable.fill)
        hand_in(one, folder / "submissions" / one.name, text, "target.ipynb")
    names = [one.name for one in cases]
    (folder / "roster.csv").write_text("student,name\n" + "".join(f"{n},=cmd('{n}')\n" for n in names))
    start = time.monotonic()
    arguments = [
        "target",
        folder / "submissions",
        "--from",
        os.path.dirname(__file__),
        "--key",
        folder / "homework.key",
    ]
    arguments += ["--roster", folder / "roster.csv", "--out", folder / MARK, "--jobs", "2"]
    watched = Watched("grade", *arguments)
    status, said = watched.end()
    print(f"{len(cases)} submissions in {time.monotonic() - start:.0f} s, the grader took {watched.peak >> 20} MB")
    assert status == 0, said
    found = {record["student"]: record for record in records.read_records(folder / MARK)}
    return SimpleNamespace(
        cases=cases, records=found, watched=watched, said=said, out=folder / MARK, reachable=reachable
    )


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
def test_an_attack_ends_as_documented(outcome, one):
    # catches: a point that was not earned, a reason that misleads, another row that changed, a hang
    record = outcome.records[one.name]
    found = {row["question"]: (row["reason"], row["points"]) for row in record["questions"]}
    assert found == one.outcome, json.dumps(record, indent=1)[:4000]
    assert (record["reason"], tuple(record["flags"])) == (one.reason, one.flags)


def test_fair_students_get_what_they_deserve(outcome):
    # catches: marks that hang on who is graded before or beside
    for one in outcome.cases:
        if one.name.startswith("fair"):
            record = outcome.records[one.name]
            found = {row["question"]: (row["reason"], row["points"]) for row in record["questions"]}
            assert found == one.outcome, json.dumps(record, indent=1)[:4000]


def test_no_process_is_left(outcome):
    # catches: a daemon, a bubblewrap without its grader. `seen` holds every process that was alive for 50 ms.
    assert len(outcome.watched.seen) > len(CASES)
    assert survivors(outcome.watched.seen) == set()
    assert not [line for line in command_lines() if outcome.reachable.fill["DAEMON"] in line]


def test_the_grader_itself_stays_small(outcome):
    # catches: output, answers or notebooks that are held whole; torch imported. One submission prints 200 MB.
    assert 20 << 20 < outcome.watched.peak < 150 << 20


def test_the_table_can_be_opened(outcome):
    # catches: a formula in a name; a control character or half a pair that a reader stops at
    text = (outcome.out / "grades.csv").read_bytes().decode("utf-8-sig")
    rows = list(csv.reader(text.splitlines()))
    assert len(rows) == 1 + len(outcome.cases) * len(FAIR)
    assert all(row[1].startswith("'=cmd(") for row in rows[1:])
    for path in (outcome.out / "records").iterdir():
        data = path.read_bytes()
        assert len(data) < 200_000
        json.dumps(json.loads(data), ensure_ascii=False).encode()


def test_the_probes_find_something_where_there_are_no_walls(reachable):
    # catches: a probe that fails because of its own mistake, and so proves nothing
    fill = reachable.fill
    bait = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", MARK], env={"HOMEWORK_MARK": MARK})
    try:
        for one in CASES:
            if one.outside:
                source = one.answers["q2"]
                for name, value in fill.items():
                    source = source.replace(f"@{name}@", value)
                source += "\nsys.exit(0 if found else 3)"
                done = subprocess.run([sys.executable, "-"], input=source, text=True, capture_output=True, timeout=60)
                assert done.returncode == 0, (one.name, done.stdout, done.stderr)
    finally:
        bait.kill()
        bait.wait()


# --- the clock ------------------------------------------------------------------------------------------

HELD = {
    "loop": "while True: pass",
    "ignores-signals": "import signal\nfor n in (2, 14, 15): signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
    "sleeps-in-c": "import ctypes\nctypes.CDLL(None).sleep(60)",
    "threads": "import hashlib, threading\nbusy = lambda: hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10**9)\n"
    "for _ in range(40): threading.Thread(target=busy).start()\nbusy()",
    "programs": "import subprocess\nfor _ in range(40): subprocess.Popen(['/bin/sh', '-c', 'while :; do :; done'])\n"
    "while True: pass",
    "prints-in-drops": "import os\nos.fork(), os.fork()\nwhile True: os.write(1, b'x')",
    "holds-memory": "held = bytearray(600 << 20)\nwhile True: pass",
    "fork-bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "stopped": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "closed": "import os\nos.closerange(1, 3)\nos.close(0)\nwhile True: pass",
}


@pytest.mark.parametrize("name", HELD)
def test_the_clock_is_kept(sandbox, name):
    # catches: a limit that hangs on the student's process; a stop that returns before all have ended
    with Worker() as worker:
        worker.start()
        seen, start = family(worker.process.pid), time.monotonic()
        with pytest.raises(Failure) as caught:
            worker.ask({"cell": HELD[name], "name": "q1", "seed": 0}, b"", 1.0)
        took = time.monotonic() - start
        assert caught.value.reason in (("memory", "timeout") if name == "fork-bomb" else ("timeout",))
        assert took < 2.0, took
        assert not worker.alive
    assert seen
    assert survivors(seen, seconds=0) == set()


def test_many_files_held_open_are_no_limit(sandbox):
    # catches: select(), which takes no file numbers above 1,023
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1500:
        pytest.skip(f"the system lets a process hold {hard} files open, 1,500 are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (1500, hard))
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        with Worker() as worker:
            worker.start()
            assert worker.ask({"code": "1 + 1", "given": {"d": []}, "seed": 0}, b"", 5) == (2, b"")
    finally:
        for file in held:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_pipe_that_another_process_empties_does_not_hold_the_grader(sandbox):
    # catches: a read that blocks for ever after poll() said that there is something to read
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.write(writing, b"HW01")

    def steal():
        with contextlib.suppress(BlockingIOError):
            os.read(reading, 100)

    with pytest.raises(TimeoutError):
        wire.read(reading, time.monotonic() + 0.3, steal)
    os.close(reading)
    os.close(writing)
    with Worker() as worker:
        worker.start()
        assert not any(map(os.get_blocking, (worker.requests, worker.answers, worker.printing)))


# --- inside ---------------------------------------------------------------------------------------------

LOOK = """
import json, os, socket, sys
def walk(top):
    for folder, folders, files in os.walk(top):
        folders[:] = [f for f in folders if not os.path.ismount(os.path.join(folder, f))]
        yield from (os.path.join(folder, f) for f in files)
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
from course_lib.homework.source import FOLDER
seen = json.dumps({
    "root": sorted(os.listdir("/")), "files": [f for top in ("/tmp", "/dev/shm", str(FOLDER)) for f in walk(top)],
    "environment": dict(os.environ), "interfaces": [name for _, name in socket.if_nameindex()],
    "processes": sorted(int(p) for p in os.listdir("/proc") if p.isdigit()), "groups": os.getgroups(),
    "ids": [os.getuid(), os.geteuid(), os.getgid()],
    "status": {k: status[k].strip() for k in ("CapEff", "CapBnd", "CapPrm", "NoNewPrivs", "Seccomp")},
    "mounts": [line.split()[1:4] for line in open("/proc/mounts")],
    "fds": sorted({int(f) for f in os.listdir("/proc/self/fd")} - {int(sys.argv[1]), int(sys.argv[2])}),
})
"""


@pytest.fixture(scope="module")
def inside(sandbox):
    """What a student's code can see."""
    with Worker() as worker:
        worker.start()
        last = processes.descendants(worker.process.pid)[-1]
        worker.ask({"cell": LOOK, "name": "q1", "seed": 0}, b"", 20)
        seen, _ = worker.ask({"code": "seen", "given": {"d": []}, "seed": 0}, b"", 5)
        return json.loads(seen) | {"uid outside": os.stat(f"/proc/{last}").st_uid}


def test_what_a_student_can_see(inside):
    # catches: each wall left out
    system = {"bin", "sbin", "lib", "lib32", "lib64", "usr", "etc", "proc", "dev", "tmp"}
    added = {path.parts[1] for path in box.needed()}
    assert set(inside["root"]) <= system | added
    assert inside["files"] == []
    assert set(inside["environment"]) <= {*box.environment(), "PWD", "LC_CTYPE"}
    assert inside["environment"]["HOME"] == "/tmp"
    assert inside["interfaces"] == ["lo"]
    assert len(inside["processes"]) <= 3
    assert len(inside["fds"]) <= 4  # 0, 1, 2, and the one that looks
    rights = {"CapEff": "0" * 16, "CapBnd": "0" * 16, "CapPrm": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}
    assert inside["status"] == rights
    writable = {place for place, kind, options in inside["mounts"] if "rw" in options.split(",")}
    assert {p for p in writable if not p.startswith(("/dev/", "/proc"))} == {"/tmp"}


def test_a_student_is_never_root(inside):
    assert 0 not in inside["ids"]
    assert inside["uid outside"] == (box.NOBODY if ROOT else os.geteuid())
    assert 0 not in inside["groups"]


# --- the grader itself ----------------------------------------------------------------------------------


@pytest.fixture
def small(sandbox, target, tmp_path):
    """A course of three: one right, one that loops, and a fork bomb."""
    names = ["right", "loop-in-cell", "fork-bomb"]
    key = variants.make_key(tmp_path / "homework.key")
    (tmp_path / "submissions").mkdir()
    for one in CASES:
        if one.name in names:
            text = written(one, target, release.student_notebook(target, key, one.name), {})
            hand_in(one, tmp_path / "submissions" / one.name, text, "target.ipynb")
    (tmp_path / "roster.csv").write_text("student,name\n" + "".join(f"{name},x\n" for name in names))
    return tmp_path


def arguments(folder, out="out"):
    place = ["--from", os.path.dirname(__file__), "--key", folder / "homework.key", "--roster", folder / "roster.csv"]
    return ["grade", "target", folder / "submissions", *place, "--out", folder / out, "--jobs", "2"]


def test_a_grader_that_is_killed_goes_on_where_it_stopped(small):
    # catches: a record that is half written and taken for whole; processes that outlive their grader
    assert Watched(*arguments(small, "whole")).end()[0] == 0
    rng, seen, kills = random.Random(int(os.environ.get("COURSE_SEED", "5"))), set(), 0
    while kills < 20:
        grader = Watched(*arguments(small), *(["--again"] if kills % 4 == 0 else []))
        time.sleep(rng.uniform(0.1, 3))
        kills += grader.process.poll() is None
        grader.kill()
        seen |= grader.seen
        assert survivors(grader.seen) == set()
    assert Watched(*arguments(small)).end()[0] == 0
    assert len(seen) > 20
    for name in ("grades.csv", "by_hand.csv"):
        assert (small / "out" / name).read_bytes() == (small / "whole" / name).read_bytes()


def test_two_graders_do_not_share_a_folder(small):
    # catches: two graders that write the same records; a second that harms the first
    first = Watched(*arguments(small))
    end = time.monotonic() + 60
    while not (small / "out" / ".lock").exists() or not first.seen:
        assert time.monotonic() < end
        time.sleep(0.05)
    status, said = Watched(*arguments(small)).end()
    assert (status, "another process grades into" in said) == (1, True), said
    assert first.end()[0] == 0
    assert Watched(*arguments(small, "whole")).end()[0] == 0
    assert (small / "out" / "grades.csv").read_bytes() == (small / "whole" / "grades.csv").read_bytes()


def test_a_full_disk_is_told_and_nothing_is_half_written(small):
    # catches: a traceback; a record that was cut off and counts. A limit on a file's size stands for the disk.
    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    status, said = Watched(*arguments(small), preexec_fn=full).end()
    assert status == 1
    assert "File too large → mend that and grade again" in said, said
    assert "Traceback" not in said
    assert [path.name for path in (small / "out").rglob("*") if path.is_file()] == [".lock"]
    assert Watched(*arguments(small)).end()[0] == 0
    assert len((small / "out" / "grades.csv").read_text().splitlines()) == 1 + 3 * len(FAIR)


def test_the_time_of_a_whole_notebook_is_limited(sandbox, target):
    # catches: a notebook of a thousand cells that each end the worker, which would be graded for an hour
    from course_lib.homework.session import Session, Task

    about = referee.about(referee.Referee(target, bytes(32), "eve"))
    cells = [("q1", "batches = 1")] + [(f"extra-{i}", "import os\nos._exit(0)") for i in range(1, 900)]
    task = Task("target", "", "", "eve", "", False, None, b"", None, False, Limits())
    with Session(task, about, submissions.Submission(cells, {}, set(), [])) as session:
        session.left, start = 3.0, time.monotonic()
        with pytest.raises(Failure) as caught:
            session._run_cells()
        assert caught.value.reason == "timeout"
        assert time.monotonic() - start < 30


# --- without walls --------------------------------------------------------------------------------------


@pytest.fixture
def no_bubblewrap(monkeypatch):
    """A system without bubblewrap."""
    monkeypatch.setattr(box.shutil, "which", lambda name, **more: None)
    for function in (box.walls, box.why_not):
        function.cache_clear()
    yield
    for function in (box.walls, box.why_not):
        function.cache_clear()


def test_without_bubblewrap_it_refuses(no_bubblewrap, target, tmp_path):
    # catches: strangers' code that runs without walls because nobody said no
    (tmp_path / "roster.csv").write_text("student,name\nada,Ada\n")
    path = os.path.join(os.path.dirname(__file__), "target.md")
    with pytest.raises(BookError, match="bubblewrap is not installed → install it"):
        grade(tmp_path, path, tmp_path / "roster.csv", bytes(32), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(BookError, match="bubblewrap is not installed"), Worker() as worker:
        worker.start()


def readable():
    """Whether the user that root becomes can run this interpreter."""
    user = {"user": box.NOBODY} if ROOT else {}
    try:
        return not subprocess.run(
            [sys.executable, "-c", "import torch"], capture_output=True, cwd="/", **user
        ).returncode
    except OSError:
        return False


def test_trusted_submissions_run_without_walls_and_say_so(no_bubblewrap, target, tmp_path):
    # catches: rows that do not say it; marks that the student's process could reach
    names = ["right", "frames", "marks", "loop-in-cell", "hard-exit"]
    (tmp_path / "submissions").mkdir()
    cases = [one for one in CASES if one.name in names]
    for one in cases:
        text = written(one, target, release.student_notebook(target, bytes(32), one.name), {})
        hand_in(one, tmp_path / "submissions" / one.name, text, "target.ipynb")
    (tmp_path / "roster.csv").write_text("student,name\n" + "".join(f"{one.name},x\n" for one in cases))
    path = os.path.join(os.path.dirname(__file__), "target.md")
    given = tmp_path / "submissions", path, tmp_path / "roster.csv", bytes(32), tmp_path / "out"
    if not readable():  # root becomes nobody here too, and nobody may not read root's home
        with pytest.raises(BookError, match="grade as another user than root"):
            grade(*given, trusted=True)
        return
    for one, record in zip(cases, grade(*given, trusted=True, jobs=2).records, strict=True):
        assert {row["question"]: (row["reason"], row["points"]) for row in record["questions"]} == one.outcome
        assert record["sandbox"] == "unsandboxed"
    assert all(line.endswith(",unsandboxed") for line in (tmp_path / "out" / "grades.csv").read_text().splitlines()[1:])
