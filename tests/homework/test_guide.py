"""The instructor's guide says what the commands take and what the reason codes are; its example is graded."""

import argparse
import re
import shlex
from pathlib import Path

from course_lib.homework import source
from course_lib.homework.commands import add_commands
from course_lib.homework.grade import grade
from course_lib.homework.reasons import REASONS
from tests.homework.handing_in import answered, solved

PAGE = Path(__file__).parents[2] / "chapters" / "appendix" / "instructor_guide.md"
KEY = bytes(range(32))


def test_every_command_of_the_guide_is_one():
    # catches: an option that was renamed; argparse then ends the test
    groups = argparse.ArgumentParser().add_subparsers()
    parsers = {}

    def add(name, run, text):
        parsers[name] = groups.add_parser(name, allow_abbrev=False)
        return parsers[name]

    add_commands(add)
    page = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^(?:\$ )?course homework (.+)$", page, re.MULTILINE)
    shown = [shlex.split(line, comments=True) for line in lines]
    assert {words[0] for words in shown} == set(parsers)
    for name, *words in shown:
        parsers[name].parse_args(words)


def test_the_guide_explains_every_reason_code():
    # catches: a code that was added to the grader, or renamed, and not here
    rows = re.search(r"^\| Code \| Meaning \|\n\|.+\n((?:\|.+\n)+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert {code for row in rows.splitlines() for code in re.findall(r"`([\w-]+)`", row.split("|")[1])} == set(REASONS)


def test_the_example_of_an_own_assignment_is_graded(tmp_path, sandbox):
    # catches: an example that does not work when it is copied
    path = PAGE.parent / "_own" / "week1_staircase.md"
    assignment = source.load(path)
    blank = answered(assignment, KEY, "blank", lambda cell: None)
    notebooks = {"full": solved(assignment, KEY, "full"), "blank": blank}
    for student, text in notebooks.items():
        (tmp_path / "submissions" / student).mkdir(parents=True)
        (tmp_path / "submissions" / student / "week1.ipynb").write_text(text)
    (tmp_path / "roster.csv").write_text("student,name\nfull,\nblank,\n")
    records = grade(tmp_path / "submissions", path, tmp_path / "roster.csv", KEY, tmp_path / "out").records
    assert [[row["points"] for row in record["questions"]] for record in records] == [[2, None], [0, 0]]
