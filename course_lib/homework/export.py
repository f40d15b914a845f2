"""Marks for other systems: a plain table, Canvas's gradebook, Moodle's gradebook.

    csv       student,name,points,max,percent, a row a student
    canvas    Student,ID,SIS User ID,SIS Login ID,Section,TITLE and a row “Points Possible”. Canvas finds a student
              by ID, or by the SIS User ID or Login ID, and else by name, which is why one of them is asked for
              here; it finds the assignment by its title, or offers to make it.
    moodle    Email address and/or ID number, Name, TITLE. On import map from “Email address” to “Email address”,
              or from “ID number” to “ID number”, and TITLE to a grade item of the same maximum: an item that the
              import makes counts to 100. Moodle compares addresses as written, capitals too, and gives a row
              that names nobody to the student of the row above: such a file is not written.

The roster's columns: canvas_id, sis_user_id, sis_login_id, section; email, id_number.
Sources: Ohio State University, Import a CSV File to Carmen Grades (teaching.resources.osu.edu/toolsets/carmencanvas);
canvas-lms, lib/gradebook_importer.rb; MoodleDocs 3.11, Grade import (docs.moodle.org/311/en/Grade_import); Moodle,
grade/import/csv/classes/load_data.php.
"""

import csv
import io
from collections import defaultdict

from course_lib.book.pages import BookError, write_text
from course_lib.homework.records import csv_text, merged, number, read_by_hand, read_records, total
from course_lib.homework.submissions import read_roster

__all__ = ["TARGETS", "export"]

CANVAS = {"ID": "canvas_id", "SIS User ID": "sis_user_id", "SIS Login ID": "sis_login_id"}
MOODLE = {"Email address": "email", "ID number": "id_number"}


def export(out, to, roster, target, partial=False):
    """Write the totals of the records below `out` to the file `target`, in the order of the roster.

    to: csv, canvas or moodle.   partial: write the points so far although written answers wait for a person.
    Returns: the students who have a record but are not in the roster; they are left out.
    Raises: BookError for marks by hand that are missing, students of the roster without a record, and a
    roster by which the other system could not tell who is who. Nothing is written then.
    """
    if to not in TARGETS:
        raise BookError(f"no format is called {to!r} → {', '.join(TARGETS)}")
    records = {record["student"]: record for record in merged(read_records(out), read_by_hand(out / "by_hand.csv"))}
    students = read_roster(roster)
    unknown = [student.id for student in students if student.id not in records]
    if unknown:
        raise BookError(f"no record of {_list(unknown)} → grade again with this roster")
    totals = {student.id: total(records[student.id]) for student in students}
    waiting = [f"{name} ({', '.join(result.waiting)})" for name, result in totals.items() if result.waiting]
    if waiting and not partial:
        raise BookError(f"not yet marked: {_list(waiting)} → give the points in by_hand.csv, or export with --partial")
    title = csv_text(next(iter(records.values()))["title"])
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\r\n").writerows(TARGETS[to](students, totals, title))
    target.parent.mkdir(parents=True, exist_ok=True)
    mark = "\ufeff" if to == "csv" else ""  # for spreadsheets; Canvas and Moodle read the file as it is
    write_text(target, mark + stream.getvalue())
    return sorted(set(records) - set(totals))


def _csv(students, totals, _):
    yield "student", "name", "points", "max", "percent"
    for student in students:
        points, best, _ = totals[student.id]
        percent = number(100 * points / best) if best else "0"
        yield csv_text(student.id), csv_text(_name(student)), number(points), number(best), percent


def _canvas(students, totals, title):
    columns = [_column(students, name) for name in CANVAS.values()]
    _each_has_one(students, columns, CANVAS, "canvas_id, the number in Canvas's own export of the gradebook")
    bad = [student.id for student, name in zip(students, columns[0], strict=True) if name and not _is_id(name)]
    if bad:
        raise BookError(f"the roster's canvas_id of {_list(bad)} is no whole number → take it from Canvas's export")
    sections = _column(students, "section")
    yield "Student", *CANVAS, "Section", title
    yield "    Points Possible", *[""] * 4, number(max(result.max for result in totals.values()))
    for student, *names, section in zip(students, *columns, sections, strict=True):
        yield csv_text(_name(student)), *names, csv_text(section), number(totals[student.id].points)


def _moodle(students, totals, title):
    columns = {head: _column(students, name) for head, name in MOODLE.items()}
    # One column has to name every student: Moodle gives a row without to the student of the row above.
    whole = {head: names for head, names in columns.items() if all(name not in ("", "0") for name in names)}
    if not whole:
        best = min(columns, key=lambda head: sum(name in ("", "0") for name in columns[head]))
        lacking = [student.id for student, name in zip(students, columns[best], strict=True) if name in ("", "0")]
        raise BookError(
            f"the roster has no {MOODLE[best]} for {_list(lacking)} → a column email or id_number, filled in for all"
        )
    _distinct(students, whole.values(), [MOODLE[head] for head in whole])
    yield *whole, "Name", title
    for student, *names in zip(students, *whole.values(), strict=True):
        yield *names, csv_text(_name(student)), number(totals[student.id].points)


TARGETS = {"csv": _csv, "canvas": _canvas, "moodle": _moodle}


def _column(students, name):
    """The roster's column called `name`, with a space, a hyphen, an underscore or nothing between its words."""
    wanted = name.replace("_", "")
    found = []
    for student in students:
        values = {key.lower().translate(str.maketrans("", "", " -_")): value for key, value in student.columns.items()}
        found.append(str(values.get(wanted, "")).strip())
    return found


def _each_has_one(students, columns, names, remedy):
    lacking = [student.id for student, *row in zip(students, *columns, strict=True) if not any(row)]
    if lacking:
        known = ", ".join(names.values())
        raise BookError(f"the roster has none of {known} for {_list(lacking)} → a column {remedy}")
    _distinct(students, columns, names.values())


def _distinct(students, columns, names):
    """Refuse a column that names two students alike, or holds what a spreadsheet would run."""
    for name, column in zip(names, columns, strict=True):
        holders = defaultdict(list)
        for student, value in zip(students, column, strict=True):
            if value:
                holders[value].append(student.id)
            if csv_text(value) != value:
                raise BookError(f"the roster's {name} of {student.id} is {value!r} → it must not begin as a formula")
        for value, found in holders.items():
            if len(found) > 1:
                raise BookError(f"the roster's {name} {value!r} is that of {_list(found)} → correct it")


def _is_id(text):
    return text.isascii() and text.isdigit() and int(text) > 0


def _name(student):
    return student.name.strip() or student.id


def _list(names, most=10):
    """Names for a message; the first ten of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
