"""Records are read whole or refused; points given by hand survive every rewrite."""

import csv
import io
import json

import pytest
from examples import records, save
from hypothesis import given
from hypothesis import strategies as st

from course_lib.book.pages import BookError
from course_lib.homework.records import (
    by_hand_rows,
    csv_text,
    merged,
    number,
    read_by_hand,
    read_records,
    total,
    write_by_hand,
)


def fill(path, points, comment=""):
    """Give every row the points, as a person does in a spreadsheet."""
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    for row in rows[1:]:
        row[2], row[6] = points, comment
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def test_records_come_back_sorted(tmp_path):
    made = records()
    save(tmp_path, reversed(made))
    assert read_records(tmp_path) == made


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"student": "s00"}', '{"student": "other", "questions": []}', "\xff"]
)
def test_damaged_record_is_named(tmp_path, damage):
    # catches: a traceback for a record that was cut off, and one student's record under another's name
    save(tmp_path, records())
    (tmp_path / "records" / "s00.json").write_bytes(damage.encode("latin-1"))
    with pytest.raises(BookError, match=r"s00\.json is not a record.*grade again"):
        read_records(tmp_path)


def test_no_records_and_two_assignments(tmp_path):
    with pytest.raises(BookError, match=r"no records.*grade"):
        read_records(tmp_path)
    made = records(2)
    save(tmp_path, [made[0], made[1] | {"assignment": "hw02_other"}])
    with pytest.raises(BookError, match="hw01_data_and_gradients, hw02_other"):
        read_records(tmp_path)


def test_points_by_hand_are_added(tmp_path):
    made = records(4)
    before = json.dumps(made)
    assert write_by_hand(tmp_path / "by_hand.csv", made) == []
    assert total(made[0]).waiting == ("q6",)
    fill(tmp_path / "by_hand.csv", "2.5")
    done = merged(made, read_by_hand(tmp_path / "by_hand.csv"))
    assert total(done[0]).points == total(made[0]).points + 2.5
    assert total(done[0]).waiting == ()
    assert total(done[0]).max == 26
    assert json.dumps(made) == before  # catches: points written into the records that were passed in


@pytest.mark.parametrize("text", ["4.5", "-1", "nan", "inf", "two", "1;2", "=1"])
def test_points_outside_the_bounds_name_the_row(tmp_path, text):
    write_by_hand(tmp_path / "by_hand.csv", records(3))
    fill(tmp_path / "by_hand.csv", text)
    with pytest.raises(BookError, match=r"by_hand\.csv, row 2 \(s00, q6\): points are a number from 0 to 4"):
        read_by_hand(tmp_path / "by_hand.csv")


def test_a_changed_maximum_or_an_unknown_question_is_refused():
    # catches: 40 points given because the row's own maximum was edited; points that nobody will ever see
    with pytest.raises(BookError, match="s00, q6: points are from 0 to 4, got 40"):
        merged(records(2), {("s00", "q6"): 40})
    with pytest.raises(BookError, match="q99: the homework has no such question"):
        merged(records(2), {("s00", "q99"): 1})
    assert merged(records(2), {("gone", "q1"): 1, ("s00", "q1"): None}) == records(2)


def test_a_person_overrules_the_program_in_the_open(tmp_path):
    # catches: a complaint that cannot be put right; a mark of the program that is overruled and does not say so
    path = tmp_path / "by_hand.csv"
    write_by_hand(path, records(2))
    path.write_text(path.read_text(encoding="utf-8-sig") + "s00,q1,1,,,,after a talk\n", encoding="utf-8")
    write_by_hand(path, records(2))
    row = next(q for q in merged(records(2), read_by_hand(path))[0]["questions"] if q["question"] == "q1")
    assert (row["points"], row["reason"]) == (1, "by-hand")


@pytest.mark.parametrize("mark", [";", "\t"])
def test_what_spreadsheets_save_is_read(tmp_path, mark):
    # catches: a byte-order mark as part of the first name, decimal commas, and semicolons where commas are decimal
    rows = [["Student", "question", "points", "max", "mine"], ["ada", "q6", "2,5", "4", "x"], [""] * 5]
    path = tmp_path / "by_hand.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=mark).writerows(rows)
    assert read_by_hand(path) == {("ada", "q6"): 2.5}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("student,question,points,max\nä,q1,1,4".encode("latin-1"), "not in UTF-8"),
        (b"student,points\nada,1", "no column question, max"),
        (b"", "no column student, question, points, max"),
        (b"student,question,points,max\nada,q6,1,4\nada,q6,2,4", "rows 2 and 3 are both ada, q6"),
        (b"student,question,points,max\nada,q6,1,4,5", "row 2: 5 cells under 4 names"),
        (b"student,question,points,max\nada,q6,1,four", "max is a number, got 'four'"),
        (b'student,question,points,max\nada,q6,1,"4', "not a table"),
    ],
)
def test_a_damaged_file_is_refused_and_left(tmp_path, data, message):
    path = tmp_path / "by_hand.csv"
    path.write_bytes(data)
    with pytest.raises(BookError, match=message):
        read_by_hand(path)
    if b"four" not in data:
        with pytest.raises(BookError, match=message):
            write_by_hand(path, records(2))
        assert path.read_bytes() == data


def test_writing_again_keeps_points_comments_columns_and_the_gone(tmp_path):
    path, made = tmp_path / "by_hand.csv", records(4)
    write_by_hand(path, made)
    fill(path, "3", "Say how too.")
    with path.open("a", encoding="utf-8") as file:
        file.write("gone,q6,,4,,an answer,\n")
    first = path.read_text(encoding="utf-8").replace("comment\n", "comment,marked by\n").replace("too.\n", "too.,Bo\n")
    path.write_text(first, encoding="utf-8")
    before = by_hand_rows(path)
    assert before["s00", "q6"]["marked by"] == "Bo"
    assert write_by_hand(path, made[1:]) == []
    after = by_hand_rows(path)
    assert {key: row | {"row": 0} for key, row in after.items()} == {
        key: {"marked by": ""} | row | {"row": 0} for key, row in before.items()
    }
    again = path.read_bytes()
    write_by_hand(path, made[1:])
    assert path.read_bytes() == again


def test_a_changed_answer_is_told_and_refreshed_only_without_points(tmp_path):
    # catches: points for an earlier answer that pass for points of this one
    path, made = tmp_path / "by_hand.csv", records(3)
    write_by_hand(path, made)
    fill(path, "3")
    made[0]["questions"][5]["answer"] = "Another answer."
    made[1]["questions"][5]["answer"] = made[1]["questions"][5]["answer"].replace(" ", "\r\n ")
    assert write_by_hand(path, made) == [("s00", "q6")]
    assert write_by_hand(path, made) == [("s00", "q6")]
    fill(path, "")
    assert write_by_hand(path, made) == []
    assert by_hand_rows(path)["s00", "q6"]["answer"] == "Another answer."


def test_rows_go_when_nothing_waits(tmp_path):
    path, made = tmp_path / "by_hand.csv", records(3)
    write_by_hand(path, made)
    made[0]["questions"][5] |= {"points": 0, "reason": "blank"}
    write_by_hand(path, made)
    assert list(by_hand_rows(path)) == [("s01", "q6")]  # the third student handed in nothing


@given(st.text())
def test_csv_text_runs_nowhere_and_comes_back(text):
    # catches: a guard for `=` alone; halves of pairs, which cannot be encoded
    cell = csv_text(text)
    assert cell[:1] not in tuple("=+-@\t\r\n")
    stream = io.StringIO(newline="")
    csv.writer(stream).writerow([cell, "end"])
    back = stream.getvalue().encode("utf-8").decode("utf-8")
    assert next(csv.reader(io.StringIO(back, newline=""))) == [cell, "end"]
    if text.isprintable() and text[:1] not in tuple("=+-@＝＋－＠"):
        assert cell == text


def test_csv_text_of_values():
    assert [csv_text(value) for value in (None, 0, 3, 2.50, 100, "=1+1", "'quoted'", "\x00", "\ud800")] == [
        "", "0", "3", "2.5", "100", "'=1+1", "'quoted'", "␀", "\ufffd",
    ]  # fmt: skip
    assert [number(value) for value in (0, 10, 2 / 3, 0.1 + 0.2)] == ["0", "10", "0.67", "0.3"]


def test_an_id_that_begins_like_a_formula_is_found_again(tmp_path):
    made = [records()[0] | {"student": "@ada"}]
    write_by_hand(tmp_path / "by_hand.csv", made)
    assert "'@ada" in (tmp_path / "by_hand.csv").read_text(encoding="utf-8")
    fill(tmp_path / "by_hand.csv", "1")
    assert read_by_hand(tmp_path / "by_hand.csv") == {("@ada", "q6"): 1}
    assert write_by_hand(tmp_path / "by_hand.csv", made) == []
    assert read_by_hand(tmp_path / "by_hand.csv") == {("@ada", "q6"): 1}
