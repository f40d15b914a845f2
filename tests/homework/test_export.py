"""Exports are what Canvas and Moodle read, name the right student, and are refused rather than wrong."""

import csv
import io
import subprocess
import sys

import pytest
from examples import records, save

from course_lib.book.pages import BookError
from course_lib.homework.export import TARGETS, export
from course_lib.homework.records import write_by_hand

NAMES = ["Ada, Countess", 'Zoë "Zo"', "two\nlines", "=cmd()|' /C calc'!A0", "علي"]
HEADER = ["student", "name", "email", "canvas_id", "SIS User ID", "section", "id number"]
ROSTER = [[f"s0{i}", name, f"s0{i}@example.org", str(70 + i), f"u{i}", "Mon", f"00{i}"] for i, name in enumerate(NAMES)]


@pytest.fixture
def out(tmp_path):
    """Five records, all marked: the points are 10, 11 … of 26."""
    made = records(7)[:5]
    for index, record in enumerate(made):
        for row, points in zip(record["questions"], (4, 2, 2, index, 2, 0), strict=True):
            row["points"] = points
    return save(tmp_path, made)


def roster(out, rows=ROSTER, header=HEADER):
    with (out / "roster.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return out / "roster.csv"


def table(out, to, rows=ROSTER, header=HEADER, **options):
    export(out, to, roster(out, rows, header), out / "x" / f"{to}.csv", **options)
    text = (out / "x" / f"{to}.csv").read_bytes().decode("utf-8")
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def changed(column, values):
    """The roster with a column's values replaced."""
    index = HEADER.index(column)
    return [[*row[:index], value, *row[index + 1 :]] for row, value in zip(ROSTER, values, strict=True)]


def test_plain_table(out):
    rows = table(out, "csv")
    assert rows[0] == ["\ufeffstudent", "name", "points", "max", "percent"]  # with the mark, spreadsheets read accents
    assert [row[1] for row in rows[1:]] == [*NAMES[:3], "'" + NAMES[3], NAMES[4]]
    assert rows[1] == ["s00", "Ada, Countess", "10", "26", "38.46"]
    assert rows[4][2:] == ["13", "26", "50"]


def test_canvas(out):
    """As lib/gradebook_importer.rb reads it: the heads in this order, then the points possible, then students."""
    rows = table(out, "canvas")
    assert rows[0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Homework 1: data and gradients"]
    assert rows[1] == ["    Points Possible", "", "", "", "", "26"]
    assert rows[2] == ["Ada, Countess", "70", "u0", "", "Mon", "10"]
    assert rows[5][0] == "'" + NAMES[3]
    assert len(rows) == 7


def test_canvas_by_sis_ids_alone(out):
    rows = [[row[0], row[1], login] for row, login in zip(ROSTER, "abcde", strict=True)]
    assert table(out, "canvas", rows, ["student", "name", "SIS Login ID"])[2][:4] == ["Ada, Countess", "", "", "a"]


def test_moodle(out):
    rows = table(out, "moodle")
    assert rows[0] == ["Email address", "ID number", "Name", "Homework 1: data and gradients"]
    assert rows[1] == ["s00@example.org", "000", "Ada, Countess", "10"]
    assert rows[4][2] == "'" + NAMES[3]


@pytest.mark.parametrize("gap", ["", "0", " "])
def test_moodle_takes_no_column_with_gaps(out, gap):
    # catches: Moodle gives a row whose name is empty, or "0", to the student of the row above
    ids = changed("id number", ["1", gap, "3", "4", "5"])
    assert table(out, "moodle", ids)[0] == ["Email address", "Name", "Homework 1: data and gradients"]
    rows = [[*row[:2], "", *row[3:]] for row in ids]
    with pytest.raises(BookError, match="no id_number for s01 → a column email or id_number"):
        export(out, "moodle", roster(out, rows), out / "x.csv")
    assert not (out / "x.csv").exists()


@pytest.mark.parametrize("to", ["canvas", "moodle"])
def test_a_roster_without_the_column_is_told_which(out, to):
    rows = [row[:2] for row in ROSTER]
    with pytest.raises(BookError, match="canvas_id" if to == "canvas" else "email or id_number"):
        table(out, to, rows, ["student", "name"])
    assert table(out, "csv", rows, ["student", "name"])


@pytest.mark.parametrize(
    ("to", "column", "values", "message"),
    [
        ("canvas", "canvas_id", ["7", "8", "7", "9", ""], "canvas_id '7' is that of s00, s02"),
        ("canvas", "canvas_id", ["7", "8", "x9", "9", "-1"], "canvas_id of s04 is '-1'|canvas_id of s02"),
        ("canvas", "canvas_id", ["7", "8", "x9", "9", "٣"], "canvas_id of s02, s04 is no whole number"),
        ("canvas", "SIS User ID", ["1", "2", "3", "4", "=1+1"], "sis_user_id of s04 is '=1.1' → it must not begin"),
        ("moodle", "email", ["a@b", "c@d", "e@f", "g@h", "a@b"], "email 'a@b' is that of s00, s04"),
        ("moodle", "email", ["a@b", "c@d", "e@f", "g@h", "+i@j"], "must not begin as a formula"),
    ],
)
def test_a_roster_that_cannot_tell_students_apart_is_refused(out, to, column, values, message):
    with pytest.raises(BookError, match=message):
        table(out, to, changed(column, values))


def test_marks_that_are_missing_are_named(out):
    made = records(7)[:5]
    save(out, made)
    write_by_hand(out / "by_hand.csv", made)
    with pytest.raises(BookError, match=r"not yet marked: s00 \(q6\), s01 \(q6\).*--partial"):
        table(out, "csv")
    text = (out / "by_hand.csv").read_text(encoding="utf-8")
    (out / "by_hand.csv").write_text(text.replace("s00,q6,,", "s00,q6,2.5,"), encoding="utf-8")
    rows = table(out, "csv", partial=True)
    assert float(rows[1][2]) == sum(row["points"] or 0 for row in made[0]["questions"]) + 2.5
    with pytest.raises(BookError, match=r"not yet marked: s01"):
        table(out, "csv")


def test_students_without_a_record_and_records_without_a_student(out):
    with pytest.raises(BookError, match="no record of new → grade again"):
        table(out, "csv", [*ROSTER, ["new", "New", "", "", "", "", ""]])
    left = export(out, "csv", roster(out, ROSTER[:3]), out / "x.csv")
    assert left == ["s03", "s04"]
    assert (out / "x.csv").read_text().count("s0") == 3


def test_the_order_is_the_rosters_and_again_is_the_same(out):
    rows = table(out, "canvas", ROSTER[::-1])
    assert [row[1] for row in rows[2:]] == ["74", "73", "72", "71", "70"]
    before = (out / "x" / "canvas.csv").read_bytes()
    table(out, "canvas", ROSTER[::-1])
    assert (out / "x" / "canvas.csv").read_bytes() == before


def test_an_unknown_format_is_told_the_known(out):
    assert list(TARGETS) == ["csv", "canvas", "moodle"]
    with pytest.raises(BookError, match="'excel' → csv, canvas, moodle"):
        table(out, "excel")


def test_records_feedback_and_export_are_light():
    # catches: pandas for a table of five columns; these run where strangers' processes are started
    code = (
        "import sys; from course_lib.homework import records, feedback, export; "
        "print([m for m in ('torch', 'numpy', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
