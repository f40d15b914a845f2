"""What grading writes down and what a person adds: the records, and the points that are given by hand.

OUT/records/<student>.json holds what a student's submission was asked, what came back, and the points.
OUT/by_hand.csv has a row for each written answer; a person fills in its points and, if there is something to
say to the student, its comment. A row that has points keeps the answer that they were given for.

The strings come from what strangers submitted: a spreadsheet must not run them, and a page must not either.
"""

import csv
import io
import json
import math
import re
from typing import NamedTuple

from course_lib.book.pages import BookError, write_text

__all__ = ["COLUMNS", "Total", "by_hand_rows", "csv_text", "merged", "number", "plain", "read_by_hand"]
__all__ += ["read_records", "same_text", "total", "write_by_hand"]

COLUMNS = ("student", "question", "points", "max", "rubric", "answer", "comment")
FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
# What XML and CSV readers cannot take: control characters but tab, line feed and return; half of a pair.
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Total(NamedTuple):
    """What a record adds up to; `waiting` names the questions that nobody has marked yet."""

    points: float
    max: float
    waiting: tuple


def read_records(out):
    """All records below the folder `out`, by student.

    Raises: BookError if there are none, one is damaged, or they belong to more than one assignment.
    """
    paths = sorted((out / "records").glob("*.json"))
    if not paths:
        raise BookError(f"no records in {out} → run course homework grade with --out {out} first")
    found = [_read_record(path) for path in paths]
    names = sorted({record["assignment"] for record in found})
    if len(names) > 1:
        raise BookError(f"{out} holds records of {', '.join(names)} → grade each assignment into a folder of its own")
    return found


def _read_record(path):
    try:
        record = json.loads(path.read_bytes())
        if record["student"] != path.stem:
            raise ValueError(f"it is of the student {record['student']!r}")
        _ = record["assignment"], [(row["question"], row["points"], row["max"]) for row in record["questions"]]
    except (ValueError, KeyError, TypeError) as error:
        raise BookError(f"{path.name} is not a record: {error!r} → delete it and grade again") from error
    return record


def total(record):
    """The points of a record, with those that a person gave if it is one of `merged`; see Total."""
    rows = record["questions"]
    waiting = tuple(row["question"] for row in rows if row["points"] is None)
    return Total(sum(row["points"] or 0 for row in rows), sum(row["max"] for row in rows), waiting)


def merged(records, by_hand):
    """The records with the points that a person gave, {(student, question): points or None}, filled in.

    A person's points replace the program's too, so that a complaint can be put right. Rows of students without a
    record are passed over.
    Raises: BookError for points outside 0 to the question's maximum, and of a question that is not there.
    """
    known = {(record["student"], row["question"]): row for record in records for row in record["questions"]}
    students = {record["student"] for record in records}
    for (student, question), points in by_hand.items():
        if points is None or student not in students:
            continue
        row = known.get((student, question))
        where = f"by_hand.csv, {student}, {question}"
        if row is None:
            raise BookError(f"{where}: the homework has no such question → correct the row or delete it")
        if not 0 <= points <= row["max"]:
            bounds = f"0 to {number(row['max'])}"
            raise BookError(f"{where}: points are from {bounds}, got {number(points)} → correct them")
    return [_merge(record, by_hand) for record in records]


def _merge(record, by_hand):
    rows = []
    for row in record["questions"]:
        points = by_hand.get((record["student"], row["question"]))
        rows.append(row if points is None else row | {"points": points, "reason": "by-hand"})
    return record | {"questions": rows}


def read_by_hand(path):
    """{(student, question): points, or None where nobody has marked yet}; empty if there is no such file.

    Raises: BookError, naming the row, for points that are no number from 0 to the row's maximum.
    """
    found = {}
    for key, row in by_hand_rows(path).items():
        best, points = _number(row["max"]), _number(row["points"])
        where = f"{path.name}, row {row['row']} ({', '.join(key)})"
        if best is None and row["max"]:
            raise BookError(f"{where}: max is a number, got {row['max']!r} → set it as the assignment has it")
        if row["points"] and (points is None or not 0 <= points <= (math.inf if best is None else best)):
            bounds = "a number from 0" + ("" if best is None else f" to {number(best)}")
            raise BookError(f"{where}: points are {bounds}, got {row['points']!r} → correct them or leave them empty")
        found[key] = points
    return found


def by_hand_rows(path):
    """{(student, question): the row as a dictionary of strings, and `row`, its number}; {} if there is no file.

    Takes what spreadsheets save: a byte-order mark, semicolons or tabs for commas, more columns.
    Raises: BookError for what is not such a file, and for two rows of the same student and question.
    """
    if not path.exists():
        return {}
    found = {}
    for index, row in _read_rows(path):
        key = row["student"].removeprefix("'"), row["question"]
        if key in found:
            first = found[key]["row"]
            raise BookError(f"{path.name}: rows {first} and {index} are both {', '.join(key)} → delete one of them")
        found[key] = row | {"student": key[0], "row": index}
    return found


def _read_rows(path):
    try:
        text = path.read_bytes().decode("utf-8-sig")
        first = text.partition("\n")[0]
        mark = max(",;\t", key=first.count)
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True))
    except UnicodeDecodeError:
        raise BookError(f"{path.name} is not in UTF-8 → save it as “CSV UTF-8”") from None
    except csv.Error as error:
        raise BookError(f"{path.name} is not a table: {error} → save it as CSV again") from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    missing = [name for name in COLUMNS[:4] if name not in header]
    if missing:
        raise BookError(f"{path.name} has no column {', '.join(missing)} → restore its first row: {','.join(COLUMNS)}")
    for index, cells in enumerate(rows[1:], start=2):
        if any(cell.strip() for cell in cells):
            if len(cells) > len(header):
                raise BookError(
                    f"{path.name}, row {index}: {len(cells)} cells under {len(header)} names → save it as CSV again"
                )
            row = dict.fromkeys((*COLUMNS, *header), "") | dict(zip(header, cells, strict=False))
            yield index, row | {name: row[name].strip() for name in COLUMNS[:4]}


def write_by_hand(path, records):
    """Write a row for every written answer of `records` that waits for a person; keep what is there.

    Rows with points or a comment, rows of students without a record and further columns stay as they are. A
    row without points takes the record's answer, rubric and maximum. Written whole or not at all.
    Returns: [(student, question)] whose answer is not the one that the points in the file were given for.
    Raises: BookError, and writes nothing, if the file at hand cannot be read.
    """
    old, rows, changed = by_hand_rows(path), [], []
    columns = [*COLUMNS, *dict.fromkeys(name for row in old.values() for name in row if name not in (*COLUMNS, "row"))]
    students = {record["student"] for record in records}
    for record in records:
        for question in record["questions"]:
            if question["kind"] != "written":
                continue
            key = record["student"], question["question"]
            row = old.pop(key, None) or dict.fromkeys(COLUMNS, "")
            fresh = {"student": key[0], "question": key[1], "max": csv_text(question["max"])}
            fresh |= {name: csv_text(question.get(name)) for name in ("rubric", "answer")}
            if row["points"]:
                row["answer"] = row["answer"] or fresh["answer"]
                if not same_text(row["answer"], fresh["answer"]):
                    changed.append(key)
            elif question["points"] is None or row["comment"]:
                row |= fresh
            else:
                continue
            rows.append(row)
    rows += [row for (student, _), row in old.items() if row["points"] or row["comment"] or student not in students]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = {name: row.get(name, "") for name in columns} | {"student": csv_text(row["student"])}
        writer.writerow(cells.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "\ufeff" + stream.getvalue())  # with the mark, spreadsheets read the accents right
    return changed


def csv_text(value):
    """A value as a cell of CSV: numbers as they are, None empty, and no text that a spreadsheet would run.

    A text that begins as a formula does (= + - @ tab, line break) gets an apostrophe in front.
    """
    if value is None:
        return ""
    if isinstance(value, int | float):
        return number(value)
    text = plain(str(value))
    return f"'{text}" if FORMULA.match(text) else text


def plain(text):
    """The text with control characters shown as pictures (␀) and halves of pairs as �; lines and tabs stay."""
    return UNPRINTABLE.sub(lambda match: _picture(ord(match[0])), text)


def _picture(code):
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else "\ufffd"


def number(value):
    """A number of points as text, with at most two decimals and none that say nothing."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def same_text(first, second):
    """Whether two answers are the same but for white space."""
    return first.split() == second.split()


def _number(text):
    """The finite number that `text` writes, with a point or a comma; None if it is none."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return (int(value) if value.is_integer() else value) if math.isfinite(value) else None
