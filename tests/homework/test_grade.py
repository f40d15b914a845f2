"""Grading whole folders: repeated, resumed, in other processes and on other machines, always the same marks."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from handing_in import solved

from course_lib.book.pages import BookError
from course_lib.homework import feedback, release
from course_lib.homework.export import export
from course_lib.homework.grade import grade
from course_lib.homework.processes import descendants

PATH = Path(__file__).parent / "target.md"
KEY = bytes(range(32))
STUDENTS = ["ada", "bob", "cyd", "dan"]


@pytest.fixture
def course(target, sandbox, tmp_path):
    """A roster of four: right answers, a blank notebook, no notebook, and one wrong answer."""
    (tmp_path / "roster.csv").write_text("student,name\n" + "".join(f"{s},{s.title()}\n" for s in STUDENTS))
    for student in ("ada", "bob", "dan"):
        hand_in(tmp_path, target, student, solve=student != "bob")
    change(tmp_path, "dan", "q1", "# Question 1: answer here. Keep this line.\nraise ValueError('no idea')")
    return tmp_path


def hand_in(folder, target, student, solve):
    text = solved(target, KEY, student) if solve else release.student_notebook(target, KEY, student)
    (folder / "submissions" / student).mkdir(parents=True, exist_ok=True)
    (folder / "submissions" / student / "target.ipynb").write_text(text)


def change(folder, student, question, source):
    path = folder / "submissions" / student / "target.ipynb"
    notebook = json.loads(path.read_text())
    next(cell for cell in notebook["cells"] if cell["id"] == question)["source"] = source
    path.write_text(json.dumps(notebook))


def graded(folder, out="out", **options):
    return grade(folder / "submissions", PATH, folder / "roster.csv", KEY, folder / out, **options)


def table(folder, out="out"):
    return (folder / out / "grades.csv").read_text(encoding="utf-8-sig")


def test_grading_is_resumed_repeated_and_told_what_changed(course, target):
    # catches: a record that is kept although the notebook, the key or the assignment changed; a rewritten CSV
    first = graded(course)
    assert first.graded == 4
    assert [r["student"] for r in first.records] == STUDENTS
    text = table(course)
    assert graded(course).graded == 0
    assert table(course) == text
    (course / "out" / "records" / "ada.json").unlink()
    (course / "out" / "records" / "bob.json").write_text("{")  # as a full disk may leave it
    (course / "out" / "records" / "bob.json").unlink()
    assert graded(course).graded == 2
    assert table(course) == text
    assert graded(course, again=True, jobs=2).graded == 4
    assert table(course) == text
    change(course, "bob", "q1", target.solution("q1"))
    second = graded(course)
    assert second.graded == 1
    bob = next(r for r in second.records if r["student"] == "bob")
    assert bob["questions"][0]["points"] == bob["questions"][0]["max"]


def test_feedback_and_exports_are_made_of_what_grading_writes(course):
    # catches: pages that need a field which a record has only at times
    change(course, "dan", "q2", "def normalise(x):\n    while True:\n        pass")
    graded(course, jobs=2)
    feedback.write(course / "out")
    pages = {path.stem: path.read_text() for path in (course / "out" / "feedback").glob("*.html")}
    assert set(pages) == set(STUDENTS)
    assert "no idea" in pages["dan"]
    assert "Too slow" in pages["dan"] or "too long" in pages["dan"]
    assert "no idea" not in pages["ada"]
    export(course / "out", "csv", course / "roster.csv", course / "marks.csv", partial=True)
    assert len((course / "marks.csv").read_text().splitlines()) == 5


def test_points_by_hand_come_into_the_table_and_stay(course):
    # catches: grading again that empties what a person filled in
    graded(course)
    path = course / "out" / "by_hand.csv"
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("ada,"))
    student, question, points, rest = lines[row].split(",", 3)
    assert points == ""
    lines[row] = f"{student},{question},1,{rest}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = next(r for r in graded(course).records if r["student"] == "ada")
    assert next(q for q in found["questions"] if q["question"] == question)["points"] == 1
    assert f"ada,Ada,target,{question},written,1," in table(course)
    assert next(r for r in graded(course, again=True).records if r["student"] == "ada") == found


def test_other_processes_give_the_same_table(course):
    # catches: what a task needs and does not carry along; a referee that only threads share
    graded(course)
    with ProcessPoolExecutor(2) as pool:
        graded(course, "processes", executor=pool)
    assert table(course, "processes") == table(course)


def test_dask_workers_give_the_same_table(course):
    distributed = pytest.importorskip("distributed", reason="needs distributed, as in requirements.txt")
    graded(course)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        graded(course, "dask", executor=client.get_executor())
    assert table(course, "dask") == table(course)


def test_an_executor_that_dies_keeps_what_is_graded(course):
    class Dying(ProcessPoolExecutor):
        def submit(self, function, task):
            if task.student == "cyd":
                for process in list(self._processes.values()):
                    process.kill()
            return super().submit(function, task)

    with Dying(1) as pool, pytest.raises(BookError, match="grade again"):
        graded(course, executor=pool, jobs=1)
    assert graded(course).graded >= 1
    graded(course, "whole")
    assert table(course) == table(course, "whole")


def works(pid):
    """Whether a worker is among the processes that this one started."""
    for each in descendants(pid):
        with contextlib.suppress(OSError):
            if b"homework.worker" in Path(f"/proc/{each}/cmdline").read_bytes():
                return True
    return False


def test_ctrl_c_keeps_what_is_under_way(course):
    # catches: minutes of grading that are thrown away; a sandbox that goes on after the grader
    command = [sys.executable, "-m", "course_lib.cli", "homework", "grade", "target", "submissions", "--jobs", "2"]
    command += ["--from", str(PATH.parent), "--roster", "roster.csv", "--key", "key", "--out", "out"]
    (course / "key").write_text(KEY.hex())
    change(course, "ada", "q1", "# Question 1: answer here. Keep this line.\nimport time\ntime.sleep(1.5)")
    with subprocess.Popen(command, cwd=course, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        end = time.monotonic() + 60
        while not works(process.pid) and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "under way are finished first" in said
    done = {path.stem for path in (course / "out" / "records").glob("*.json")}
    assert "ada" in done
    assert graded(course).graded == 4 - len(done)


def test_folders_are_not_mixed(course):
    # catches: marks of two assignments in one table; records of students who left, deleted or counted
    graded(course)
    other = course / "other.md"
    shutil.copy(PATH, other)
    with pytest.raises(BookError, match="folder of its own"):
        grade(course / "submissions", other, course / "roster.csv", KEY, course / "out")
    (course / "roster.csv").write_text("student,name\nbob,Bob\n")
    (course / "submissions" / "stranger").mkdir()
    done = graded(course)
    assert [r["student"] for r in done.records] == ["bob"]
    assert {"ada", "dan", "stranger", "records/cyd.json"} <= set(done.strays)
    assert (course / "out" / "records" / "ada.json").exists()
    with pytest.raises(BookError, match="no folder"):
        grade(course / "nothing", PATH, course / "roster.csv", KEY, course / "out")


def test_helpers_in_cells_of_their_own_count(course, target):
    # catches: a fair answer that loses its points since a function stands in an added cell
    path = course / "submissions" / "ada" / "target.ipynb"
    notebook = json.loads(path.read_text())
    place = next(i for i, cell in enumerate(notebook["cells"]) if cell["id"] == "q1")
    added = {"mine": "def helper(value):\n    return value", "try": "%matplotlib inline\nhelper(1 / 0)"}
    cells = [{"cell_type": "code", "id": name, "metadata": {}, "source": text} for name, text in added.items()]
    notebook["cells"][place:place] = cells
    path.write_text(json.dumps(notebook))
    change(course, "ada", "q1", target.solution("q1") + "\nhelper(1)")
    ada = graded(course).records[0]
    assert {q["reason"] for q in ada["questions"]} == {"ok", "by-hand"}


def test_a_broken_assignment_is_told_and_nothing_is_written(course, tmp_path):
    broken = tmp_path / "target.md"
    text = PATH.read_text()
    broken.write_text(text.replace("def variant(rng):", "def variant(rng):\n    raise ValueError('oops')"))
    with pytest.raises(BookError, match="oops"):
        grade(course / "submissions", broken, course / "roster.csv", KEY, course / "out")
    assert not (course / "out" / "grades.csv").exists()
