"""Cheating, handed in through the real nbgrader: how much of it gets marks.

    make nbgrader
    .venv/bin/python tests/homework/nbgrader_forgeries.py [NAME …]

Each case answers questions of target.md wrongly and reaches for the points by other means; a grader that
holds gives it what its honest answers deserve. The cases are those of attacks.py, and SAMEPLACE here: what
only makes sense where answers and tests share a process. Prints a line a case, and the sum.
"""

import subprocess
import sys
import tempfile
import time

from real_nbgrader import BIN, MISSING, TARGET, Course

from course_lib.homework import source

WRONG = "batches, last = -1, -1\ndef normalise(x):\n    return -x\n"
SAMEPLACE = {
    "reads the expected value in the caller's frames": """
import sys
def normalise(x):
    frame = sys._getframe()
    while frame:
        want = frame.f_locals.get("want")
        if want is not None:
            return want[0] if isinstance(want, list) else want
        frame = frame.f_back
    return -x
""",
    "finds the solution in the grader's memory": """
import gc
def normalise(x):
    for thing in gc.get_objects():
        if type(thing).__name__ == "Referee" and "q2" in thing._solved:
            return thing._solved["q2"]["normalise"](x)
    return -x
""",
    "reads the solution from the file": """
import os, pathlib
text = next(pathlib.Path(os.environ["COURSE_HOMEWORK"]).glob("*.md")).read_text()
exec(text[text.index("def normalise"):].split("```")[0].replace("### BEGIN SOLUTION", "pass"))
""",
    "replaces the comparison": WRONG
    + """
import course_lib.homework.referee as referee
referee.compare = lambda *given: ("ok", "")
""",
    "replaces numpy's comparison": WRONG
    + """
import numpy
numpy.isclose = lambda *given, **more: numpy.ones(1, bool)
""",
    "replaces torch.allclose": WRONG + "torch.allclose = lambda *given, **more: True",
    "replaces abs and all": WRONG
    + """
import builtins
builtins.abs, builtins.all = lambda x: 0, lambda x: True
""",
    "replaces judge": WRONG
    + """
import course_lib.homework.nbgrader
course_lib.homework.nbgrader.judge = lambda *given: None
""",
    "replaces the module that judges": WRONG
    + """
import sys, types
sys.modules["course_lib.homework.nbgrader"] = types.SimpleNamespace(judge=lambda *given: None)
""",
    "deletes the test from its syntax tree": WRONG
    + """
import ast
class Drop(ast.NodeTransformer):
    def visit_Expr(self, node):
        return None if "judge(" in ast.unparse(node) else node
get_ipython().ast_transformers.append(Drop())
""",
    "rewrites the test before it is parsed": WRONG
    + """
get_ipython().input_transformers_cleanup.append(lambda lines: [l for l in lines if "judge(" not in l])
""",
    "hides the points that the test shows": WRONG
    + """
get_ipython().display_formatter.format = lambda value, *given, **more: ({}, {})
get_ipython().displayhook.write_format_data = lambda *given: None
get_ipython().displayhook.finish_displayhook = lambda: None
""",
    "shows words instead of the points": WRONG
    + """
get_ipython().display_formatter.formatters["text/plain"].for_type(float, lambda v, p, c: p.text("all"))
""",
    "prints a score": WRONG
    + "def normalise(x):\n    print('4.0')\n    print('Question 2: 4 of 4 points')\n    return -x",
    "a number that equals everything": """
class Liar(int):
    __eq__ = lambda self, other: True
    __hash__ = int.__hash__
batches, last = Liar(1), Liar(1)
""",
    "a tensor that compares as it likes": """
class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, given=(), more=None):
        return True if "close" in str(function) or "eq" in str(function) else super().__torch_function__(
            function, types, given, more or {})
def normalise(x):
    return (-x).as_subclass(Liar)
""",
    "leaves with sys.exit": WRONG + "import sys\ndef normalise(x):\n    sys.exit(0)",
    "kills the kernel in the test": WRONG + "import os\ndef normalise(x):\n    os._exit(0)",
    "catches every interrupt and goes on": """
def normalise(x):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
""",
}
LIMIT = 180  # seconds for a submission, after which it counts as hung; nbgrader's own limit for a cell is 20


def cases(names):
    """(name, answers by question, points deserved), those of attacks.py first."""
    for name, code in SAMEPLACE.items():
        if not names or name in names:
            yield name, {"q1": code, "q2": code}, 0


def main(names):
    if not (BIN / "nbgrader").exists():
        sys.exit(MISSING)
    target = source.load(TARGET)
    got_marks, total = [], 0
    with tempfile.TemporaryDirectory() as folder:
        made = Course(f"{folder}/course", [TARGET])
        made.run("nbgrader", "generate_assignment", target.name)
        for number, (name, answers, deserved) in enumerate(cases(names)):
            made.submit(f"s{number:02d}", target.name, answers)
            start, ended = time.monotonic(), "graded"
            try:
                made.autograde(target.name, f"--student=s{number:02d}", "--Execute.timeout=20", seconds=LIMIT)
            except subprocess.TimeoutExpired:
                ended = f"hung: stopped after {LIMIT} s"
            except AssertionError:
                ended = "nbgrader failed"
            seconds = time.monotonic() - start
            points = sum(made.scores().get(f"s{number:02d}", {}).values())
            total += 1
            if points > deserved:
                got_marks.append(name)
            print(f"{points:4.0f} points, {deserved} deserved  {seconds:6.1f} s  {ended:<16}  {name}", flush=True)
    print(f"{len(got_marks)} of {total} got marks that they did not deserve")


if __name__ == "__main__":
    main(sys.argv[1:])
