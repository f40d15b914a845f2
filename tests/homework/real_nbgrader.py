"""The real nbgrader, run as its users run it, for the tests and for nbgrader_forgeries.py."""

import json
import os
import subprocess
import time
from pathlib import Path

from course_lib.homework import source
from course_lib.homework.nbgrader import course

ROOT = Path(__file__).parents[2]
BIN = ROOT / ".venv-nbgrader" / "bin"
TARGET = Path(__file__).parent / "target.md"
MISSING = f"no {BIN.relative_to(ROOT)}/nbgrader: run `make nbgrader`"
SCORES = """
import json
from nbgrader.api import Gradebook

with Gradebook("sqlite:///gradebook.db") as book:
    grades = [
        [submission.student.id, grade.name, grade.auto_score, grade.needs_manual_grade]
        for assignment in book.assignments
        for submission in assignment.submissions
        for notebook in submission.notebooks
        for grade in notebook.grades
    ]
print(json.dumps(grades))
"""


class Course:
    """An nbgrader course in the folder `root`, which is made anew."""

    def __init__(self, root, assignments):
        self.root = Path(root)
        self.home = self.root / "home"
        for path in assignments:
            course(source.load(path), self.root)
        self.home.mkdir()

    def run(self, *command, seconds=300):
        """Run a command of nbgrader's environment in the course; returns what it printed, and fails if it does.

        Its home is an own one: kernels and settings of the machine have no say.
        """
        environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(self.home)}
        environment = {key: value for key, value in environment.items() if not key.startswith(("JUPYTER", "IPYTHON"))}
        environment |= {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [BIN / command[0], *command[1:]],
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def released(self, name):
        """The notebook that students get, as JSON."""
        return json.loads((self.root / "release" / name / f"{name}.ipynb").read_text(encoding="utf-8"))

    def submit(self, student, name, answers):
        """Hand in the released notebook with other sources in the cells that `answers` names."""
        notebook = self.released(name)
        for cell in notebook["cells"]:
            cell["source"] = answers.get(cell["metadata"]["nbgrader"]["grade_id"], cell["source"])
        folder = self.root / "submitted" / student / name
        folder.mkdir(parents=True)
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")

    def autograde(self, name, *options, seconds=300):
        """Grade what has not been graded; returns the seconds that it took."""
        start = time.monotonic()
        self.run("nbgrader", "autograde", name, *options, seconds=seconds)
        return time.monotonic() - start

    def scores(self):
        """{student: {cell: points}}, without what waits for a person."""
        scores = {}
        for student, cell, points, waiting in json.loads(self.run("python", "-c", SCORES)):
            scores.setdefault(student, {}).update({} if waiting else {cell: points})
        return scores


def solutions(assignment):
    """The answers as their author wrote them, by question."""
    return {question: assignment.solution(question) for question in assignment.titles if assignment.solution(question)}
