"""Cheating, handed in through the real nbgrader: how much of it gets marks.

    make nbgrader
    .venv/bin/python tests/homework/nbgrader_forgeries.py [BEGINNING OF A NAME …]

Each case answers questions of target.md wrongly and reaches for the points by other means: it deserves none.
The cases are those of attacks.py that look for the answer or for marks, and KERNEL: what only makes sense where
answers and tests share a process. The others of attacks.py stay out, as nothing here holds them: they kill,
mount, fill and fork. Prints a line a case, and the sum. nbgrader's limit for a cell is 20 seconds here.
"""

import subprocess
import sys
import tempfile
import time

from attacks import CASES
from real_nbgrader import BIN, MISSING, TARGET, Course

from course_lib.homework import source

WRONG = "batches, last = -1, -1\ndef normalise(x):\n    return -x\n"
FROM_ATTACKS = (
    *("frames", "garbage", "trace", "modules", "patch", "patch-judge", "transform", "lies", "lying-numbers"),
    *("lying-text", "lying-tensor", "prints-a-score", "deletes-the-test", "exit", "hard-exit", "value-nan"),
)
KERNEL = {
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
    "replaces the comparison": """
import course_lib.homework.referee as referee
referee.compare = lambda *given: ("ok", "")
""",
    "replaces judge": """
import course_lib.homework.nbgrader
course_lib.homework.nbgrader.judge = lambda *given: None
""",
    "replaces the module that judges": """
import sys, types
sys.modules["course_lib.homework.nbgrader"] = types.SimpleNamespace(judge=lambda *given: None)
""",
    "deletes the test from its syntax tree": """
import ast
class Drop(ast.NodeTransformer):
    def visit_Expr(self, node):
        return None if "judge(" in ast.unparse(node) else node
get_ipython().ast_transformers.append(Drop())
""",
    "rewrites the test before it is parsed": """
get_ipython().input_transformers_cleanup.append(lambda lines: [l for l in lines if "judge(" not in l])
""",
    "hides the points that the test shows": """
get_ipython().display_formatter.format = lambda value, *given, **more: ({}, {})
get_ipython().displayhook.write_format_data = lambda *given: None
get_ipython().displayhook.finish_displayhook = lambda: None
""",
    "shows words instead of the points": """
get_ipython().display_formatter.formatters["text/plain"].for_type(float, lambda v, p, c: p.text("all"))
""",
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
LIMIT = 180  # seconds for a submission, after which it counts as hung


def cases():
    """{name: answers by question}."""
    found = {case.name: case for case in CASES}
    for name in FROM_ATTACKS:
        deserved = sum(found[name].outcome[question][1] for question in found[name].answers)
        assert deserved == 0, f"{name} deserves {deserved} points"
    chosen = {f"{name}: {found[name].tries}": found[name].answers for name in FROM_ATTACKS}
    return chosen | {name: {"q1": WRONG + code, "q2": WRONG + code} for name, code in KERNEL.items()}


def main(words):
    if not (BIN / "nbgrader").exists():
        sys.exit(MISSING)
    target = source.load(TARGET)
    chosen = {name: answers for name, answers in cases().items() if not words or name.startswith(tuple(words))}
    marked = 0
    with tempfile.TemporaryDirectory() as folder:
        made = Course(f"{folder}/course", [TARGET])
        made.run("nbgrader", "generate_assignment", target.name)
        for number, (name, answers) in enumerate(chosen.items()):
            student, start, ended = f"s{number:02d}", time.monotonic(), "graded"
            made.submit(student, target.name, answers)
            try:
                made.autograde(target.name, f"--student={student}", "--Execute.timeout=20", seconds=LIMIT)
            except subprocess.TimeoutExpired:
                ended = "hung"
            except AssertionError:
                ended = "nbgrader failed"
            seconds = time.monotonic() - start
            points = sum(made.scores().get(student, {}).values())
            marked += points > 0
            print(f"{points:4.0f} points  {seconds:6.1f} s  {ended:<16} {name}", flush=True)
    print(f"{marked} of {len(chosen)} got marks")


if __name__ == "__main__":
    main(sys.argv[1:])
