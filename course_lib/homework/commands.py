"""The command `course homework`: list, release, check, grade, feedback, export. Work is imported when run."""

import argparse
import importlib
import sys
from pathlib import Path

from course_lib.book.pages import BookError

__all__ = ["add_commands"]


def add_commands(add) -> None:
    """Add the subcommands.   add(name, function, text) → parser."""
    listing = add("list", _list, "Print the assignments with their questions.")
    _source(listing)

    release = add("release", _release, "Write the notebooks for students.")
    _assignment(release)
    _key(release)
    release.add_argument(
        "--roster", type=Path, help="CSV with student,name: a variant for each; default: the common one"
    )
    release.add_argument("--out", type=Path, default=Path("released"), help="default: released")
    release.add_argument("--nbgrader", action="store_true", help="write a course for nbgrader into --out instead")
    release.add_argument("--book", action="store_true", help="write the book's page, for those who write the book")

    check = add("check", _check, "Run a notebook's visible checks: for students, on their own work.")
    check.add_argument("notebook", type=Path)
    check.add_argument("--seconds", type=float, default=600, help="for the whole notebook; default: 600")

    grade = add("grade", _grade, "Grade the submissions of all students in the roster.")
    _assignment(grade)
    grade.add_argument("submissions", type=Path, metavar="SUBMISSIONS", help="a folder: see the instructor's guide")
    _key(grade)
    grade.add_argument("--roster", type=Path, required=True, help="CSV with student,name")
    grade.add_argument("--out", type=Path, required=True, help="where records, grades.csv and by_hand.csv go")
    grade.add_argument("--jobs", type=_positive, help="submissions at once; default: 1, or 32 with an executor")
    grade.add_argument(
        "--executor", help="a Dask scheduler's address (tcp://…), or MODULE:FUNCTION that gives an executor"
    )
    grade.add_argument("--common", action="store_true", help="all students have the variant in the book")
    grade.add_argument("--again", action="store_true", help="grade also what is graded already")
    grade.add_argument(
        "--i-trust-these-submissions", action="store_true", dest="trusted", help="grade without a sandbox"
    )

    feedback = add("feedback", _feedback, "Write a page for each student, and a summary.")
    feedback.add_argument("out", type=Path, metavar="OUT", help="the folder that `grade` wrote")

    export = add("export", _export, "Write the marks for another system.")
    export.add_argument("out", type=Path, metavar="OUT", help="the folder that `grade` wrote")
    export.add_argument("--to", choices=("canvas", "moodle", "csv"), required=True)
    export.add_argument("--roster", type=Path, required=True)
    export.add_argument("--file", type=Path, help="default: OUT/TO.csv")
    export.add_argument("--partial", action="store_true", help="although written answers wait for a person")


def _source(parser):
    parser.add_argument("--from", type=Path, dest="folder", help="a folder of your own assignments")


def _assignment(parser):
    parser.add_argument("name", metavar="HOMEWORK", help="such as hw01")
    _source(parser)


def _key(parser):
    parser.add_argument("--key", type=Path, default=Path("homework.key"), help="default: homework.key; keep it secret")


def _positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _folder(folder):
    from course_lib.homework import source

    return source.FOLDER if folder is None else folder


def _list(folder):
    from course_lib.homework import referee, source, variants

    for name in source.names(_folder(folder)):
        assignment = source.load(source.find(name, _folder(folder)))
        questions = referee.Referee(assignment, *variants.COMMON).questions
        print(f"{name}  {assignment.title}  ({sum(q.points for q in questions.values())} points)")
        for q in questions.values():
            print(f"  {q.id:<4}{q.points:>3}  {q.kind:<9} {assignment.titles[q.id]}")


def _release(name, folder, key, roster, out, nbgrader, book):
    from course_lib.homework import release, source, submissions

    assignment = source.load(source.find(name, _folder(folder)))
    if nbgrader:
        from course_lib.homework.nbgrader import course

        course(assignment, out)
        print(f"wrote the nbgrader course {out}")
        return
    if book:
        from course_lib.book.pages import find_root, write_text

        target = find_root() / "chapters" / "homework" / f"{assignment.name}.md"
        target.parent.mkdir(exist_ok=True)
        write_text(target, release.page(assignment))
        print(f"wrote {target.relative_to(find_root())}: now course book sync homework/{assignment.name}")
        return
    students = submissions.read_roster(roster) if roster else []
    secret = _key_in(key, make=True) if students else b""
    changed = release.release(assignment, out, students, secret)
    print(f"{len(changed)} notebook(s) written to {out}")


def _key_in(path, make):
    from course_lib.homework import variants

    if make and not path.exists():
        variants.make_key(path)
        print(f"wrote {path}: keep it, and keep it secret; grading needs it")
    return variants.read_key(path)


def _check(notebook, seconds):
    from course_lib.homework.selfcheck import selfcheck

    return selfcheck(notebook, seconds)


def _grade(name, folder, submissions, key, roster, out, jobs, executor, common, again, trusted):
    from course_lib.homework import grade, source

    secret = _key_in(key, make=common)  # the book's variant was released without one
    done = grade.grade(
        submissions,
        source.find(name, _folder(folder)),
        roster,
        secret,
        out,
        jobs=jobs,
        executor=_executor(executor),
        trusted=trusted,
        common=common,
        again=again,
    )
    current = len(done.records) - done.graded
    note = f" ({current} had current marks)" if current else ""
    print(f"graded {done.graded} of {len(done.records)} students{note}: {out / 'grades.csv'}")
    missing = sum(record["reason"] == "missing" for record in done.records)
    broken = sum(record["reason"] not in ("ok", "missing") for record in done.records)
    if missing or broken:
        print(f"{missing} handed in nothing, {broken} what could not be graded")
    waiting = sum(row["points"] is None for record in done.records for row in record["questions"])
    if waiting:
        print(f"{waiting} written answer(s) wait for points in {out / 'by_hand.csv'}; then grade again")
    for student, question in done.changed_by_hand:
        remedy = "empty its points in by_hand.csv and grade again to see the new text there"
        print(f"course: {student} changed {question} after it was marked by hand → {remedy}", file=sys.stderr)
    for student, question in done.overruled:
        remedy = "delete the row if it no longer holds"
        print(f"course: by_hand.csv overrules the program for {student}, {question} → {remedy}", file=sys.stderr)
    for stray in done.strays:
        print(f"course: {stray!r} belongs to nobody in the roster", file=sys.stderr)


def _executor(name):
    if name is None:
        return None
    if "://" in name:
        from distributed import Client

        return Client(name).get_executor()
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError, ValueError) as error:
        raise BookError(f"no executor in {name!r}: {error} → tcp://HOST:PORT, or MODULE:FUNCTION") from error


def _feedback(out):
    from course_lib.homework import feedback, records

    feedback.write(out)
    print(f"wrote {out / 'feedback'} and {out / 'summary.html'}")
    found = records.merged(records.read_records(out), records.read_by_hand(out / "by_hand.csv"))
    if waiting := sum(len(records.total(record).waiting) for record in found):
        print(f"{waiting} written answer(s) have no points yet; their pages say so")


def _export(out, to, roster, file, partial):
    from course_lib.homework.export import export

    target = file or out / f"{to}.csv"
    left = export(out, to, roster, target, partial=partial)
    print(f"wrote {target}")
    if left:
        print(f"course: not in the roster, so left out: {', '.join(left)}", file=sys.stderr)
