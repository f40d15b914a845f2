"""Pages show what the records say, to the student alone, and nothing that a submission holds becomes markup."""

import copy
import html.parser
import os

import pytest
from examples import records, save

from course_lib.book.pages import BookError
from course_lib.homework import feedback
from course_lib.homework.reasons import REASONS, sentence, word
from course_lib.homework.records import by_hand_rows, read_records, write_by_hand
from course_lib.homework.summary import _chart

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)' x='",
    "</style><style>*{background:url(http://example.org/x)}</style>",
    "</title></pre></textarea><iframe src=http://example.org>",
    '<meta http-equiv="refresh" content="0;url=http://example.org">',
    "{{ 7 * 7 }}{% include 'page.html' %}",
    "<!-- ]]> --!><base href=//example.org>",
    "javascript:alert(1)",
    "\x00\x07\x1b[31mred\x7f\x9b",
    "user\u202e gnp.exe\u2066",
    "\ud800 half of a pair",
    "x" * 20_000,
    "דָּנִיאֵל عبد الله",
    "&lt;b&gt; &amp; &#60;i&#62;",
    "line\u2028separator\r\nreturn",
    "",
]


class Parsed(html.parser.HTMLParser):
    """The tags, attributes and text of a page, as a browser would see them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.words, self.style = [], [], [], False
        self.feed(page.read_text(encoding="utf-8"))
        self.text = "".join(self.words)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.style = tag == "style"

    def handle_endtag(self, tag):
        self.style = False

    def handle_data(self, data):
        if not self.style:
            self.words.append(data)


def poison(value, text):
    """The record with every string that a submission or roster could set replaced by `text`."""
    fixed = {"student", "question", "kind", "reason", "sandbox", "key", "assignment"}
    if isinstance(value, dict):
        return {name: item if name in fixed else poison(item, text) for name, item in value.items()}
    if isinstance(value, list):
        return [poison(item, text) for item in value]
    return text if isinstance(value, str) else value


def written(tmp_path, made):
    """Parse what `write` makes of the records: {name of the page: Parsed}."""
    return {path.name: Parsed(path) for path in feedback.write(save(tmp_path, made))}


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:20]))
def test_hostile_strings_stay_text(tmp_path, text):
    # catches: a `| safe`, an attribute without quotes, autoescape off for .html in a package, a control character
    pages = written(tmp_path, [poison(record, text) for record in records(4)])
    plain = written(tmp_path / "plain", [poison(record, "harmless") for record in records(4)])
    for name, page in pages.items():
        assert not {"script", "img", "iframe", "base", "object", "form", "link"} & set(page.tags)
        assert not [key for key, _ in page.attributes if key.startswith("on")]
        assert {value.split("/")[0][0] for key, value in page.attributes if key in ("href", "src")} <= {"#", "f"}
        assert (page.tags.count("style"), page.tags.count("meta")) == (1, 6)
        if text.strip() and name != "summary.html":
            assert set(page.tags) == set(plain[name].tags)
        assert not {"\x00", "\x07", "\x1b", "\x9b", "\u202e", "\u2066"} & set(page.text)
    first = pages["s00.html"].text
    if text.startswith("user"):
        assert "user⟨U+202E⟩ gnp.exe⟨U+2066⟩" in first
    if text.startswith("\x00"):
        assert "␀␇␛[31mred␡\ufffd" in first
    if text.startswith(("<", '"', "'", "{", "j", "&", "ד")):
        assert text in first


def test_every_page_has_the_policy_and_asks_nothing(tmp_path):
    for path in feedback.write(save(tmp_path, records(3))):
        page = Parsed(path)
        policies = [value for key, value in page.attributes if key == "content" and "default-src" in value]
        assert policies == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]
        assert "url(" not in path.read_text()
        assert "@import" not in path.read_text()
        assert page.tags.index("meta") < page.tags.index("title") < page.tags.index("style")


def test_a_student_sees_nothing_of_another(tmp_path):
    # catches: a loop variable that leaks, a comment looked up by the question alone, a hint with another's answer
    made = [poison(record, f"only-of-{record['student']}.") for record in records(6)]
    save(tmp_path, made)
    write_by_hand(tmp_path / "by_hand.csv", made)
    rows = (tmp_path / "by_hand.csv").read_text().splitlines()
    rows = [rows[0]] + [row[:-1] + f",only-of-{row[:3]}." for row in rows[1:]]
    (tmp_path / "by_hand.csv").write_text("\n".join(rows))
    assert by_hand_rows(tmp_path / "by_hand.csv")["s00", "q6"]["comment"] == "only-of-s00."
    feedback.write(tmp_path)
    students = [record["student"] for record in made]
    for student in students:
        text = (tmp_path / "feedback" / f"{student}.html").read_text()
        assert f"only-of-{student}." in text
        assert not [other for other in students if other != student and other in text]
        assert "summary.html" not in text


def test_a_page_says_what_was_asked_and_what_came_back(tmp_path):
    made = records(4)
    row = made[0]["questions"][0]
    part = {"what": "an empty list", "points": 1, "max": 3, "reason": "shape", "message": "Two axes, not one."}
    row |= {
        "points": 1,
        "reason": "shape",
        "parts": [part | {"asked": "f([])", "expected": "a tensor", "got": "[[1]]"}],
    }
    page = written(tmp_path, made)["s00.html"].text
    for words in ("an empty list", "1 of 3 points: wrong shape: Two axes, not one.", "f([])", "a tensor", "[[1]]"):
        assert words in " ".join(page.split())
    assert "Partly right" in page
    assert row["answer"] in page


def test_a_message_is_a_sentence_and_is_said_once(tmp_path):
    made = records(3)
    failed = "Traceback\nOverflowError: too far"
    row = made[0]["questions"][0]
    part = row["parts"][0] | {"points": 0, "reason": "raised", "message": failed}
    row |= {"points": 0, "reason": "raised", "message": f"the cell stops: {failed}", "parts": [part, part]}
    made[0]["questions"][1] |= {"points": 0, "reason": "blank", "message": "no cell for this", "parts": [part]}
    made[2] |= {"reason": "several-files", "message": "2 notebooks were handed in → one"}
    pages = written(tmp_path, made)
    assert pages["s00.html"].text.count("OverflowError") == 1
    assert "Not answered: no cell for this." in pages["s00.html"].text
    assert "Several notebooks: 2 notebooks were handed in → one." in pages["s02.html"].text
    assert pages["s02.html"].tags.count("section") == 0


def test_a_traceback_is_shown_from_its_end(tmp_path):
    made = records(2)
    made[0]["questions"][0] |= {"reason": "raised", "message": "first line\n" + "y" * 5000 + "\nValueError: the end"}
    page = written(tmp_path, made)["s00.html"].text
    assert "ValueError: the end" in page
    assert "first line" not in page


def test_by_hand_waits_and_then_counts(tmp_path):
    made = records(3)
    save(tmp_path, made)
    write_by_hand(tmp_path / "by_hand.csv", made)
    feedback.write(tmp_path)
    page, summary = Parsed(tmp_path / "feedback" / "s00.html").text, Parsed(tmp_path / "summary.html").text
    assert "not final: 1 of 6 questions not yet marked" in page
    assert "Not yet marked" in page
    assert "1 point: names the leak." in page
    assert "2 answers wait for a person" in " ".join(summary.split())
    text = (tmp_path / "by_hand.csv").read_text().replace("s00,q6,,", "s00,q6,3.5,")
    (tmp_path / "by_hand.csv").write_text(text)
    feedback.write(tmp_path)
    page = Parsed(tmp_path / "feedback" / "s00.html").text
    assert "not yet marked" not in page.lower()
    assert "3.5 of 4 points" in page


def test_who_handed_in_nothing_gets_no_rubric(tmp_path):
    # catches: a model answer in the hands of someone who may yet hand in
    page = written(tmp_path, records())["s19.html"].text
    assert "Nothing handed in." in page
    assert "names the leak" not in page


def test_the_summary_names_what_a_person_should_see(tmp_path):
    made = records()
    made[4]["questions"][0] |= {"reason": "duplicate", "points": 0}
    made[5]["sandbox"] = "unsandboxed"
    for index in (6, 7):
        made[index]["questions"][1] |= {"reason": "blank", "answer": "batches = ...", "points": 0, "parts": []}
    save(tmp_path, made)
    write_by_hand(tmp_path / "by_hand.csv", made)
    rows = (tmp_path / "by_hand.csv").read_text().replace("s01,q6,,", "s01,q6,4,") + "7,q6,3,4,,,\n"
    (tmp_path / "by_hand.csv").write_text(rows)
    made[1]["questions"][5]["answer"] = "I thought again."
    summary = " ".join(written(tmp_path, made)["summary.html"].text.split())
    for words in (
        "Nothing that could be graded s19: Nothing handed in",
        "s03: locked cells changed: q3-check",
        "Cells that are there twice None of them was taken. s04: q1 there twice",
        "s03: q4 took too long, q5 took too much memory",
        "grade again to see the new one. s01: q6",
        "007 into 7. 7, q6",
        "s00, s18: q6, 77 characters",
        "Graded without a sandbox: 1 of 20",
        "20 students, 19 handed in",
    ):
        assert words in summary
    same = summary[summary.index("The same answer") : summary.index("Students Student")]
    assert "s06, s07" not in same  # both blank
    assert "s19" not in same


def test_the_hardest_question_comes_first_and_unmarked_ones_last(tmp_path):
    made = records(5)
    for record in made[:4]:
        for row, points in zip(record["questions"], (4, 1, 5, 6, 0, None), strict=True):
            row["points"] = points
    summary = written(tmp_path, made)["summary.html"].text
    table = summary[summary.index("hardest first") : summary.index("For a person")]
    order = [table.index(f"Question {number}") for number in (5, 2, 1, 3, 4, 6)]
    assert order == sorted(order)
    assert "0 %" in table
    assert "50 %" in table


@pytest.mark.parametrize("shares", [[0], [100], [0, 100, 100], [9.9, 10, 55, 99], []])
def test_the_histogram_holds_everyone(shares):
    # catches: full points in an eleventh bin, or none; a bar that leaves the drawing
    chart = _chart(shares)
    assert sum(bar["count"] for bar in chart["bars"]) == len(shares)
    assert all(bar["y"] + bar["height"] == 150 and bar["y"] >= 20 for bar in chart["bars"])
    assert chart["bars"][-1]["x"] + 30 <= 350


def test_again_is_the_same_and_touches_nothing(tmp_path):
    paths = feedback.write(save(tmp_path, records()))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}
    assert feedback.write(tmp_path) == paths
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths} == before
    assert not [name for name in os.listdir(tmp_path / "feedback") if name.endswith(".tmp")]


def test_only_our_own_stale_pages_go(tmp_path):
    feedback.write(save(tmp_path, records(4)))
    (tmp_path / "feedback" / "notes.html").write_text("mine")
    (tmp_path / "feedback" / "s02.txt").write_text("mine")
    (tmp_path / "records" / "s02.json").unlink()
    feedback.write(tmp_path)
    assert sorted(os.listdir(tmp_path / "feedback")) == ["notes.html", "s00.html", "s01.html", "s02.txt", "s03.html"]


def test_nothing_is_written_when_points_are_wrong(tmp_path):
    made = records(3)
    save(tmp_path, made)
    write_by_hand(tmp_path / "by_hand.csv", made)
    text = (tmp_path / "by_hand.csv").read_text().replace("s01,q6,,", "s01,q6,9,")
    (tmp_path / "by_hand.csv").write_text(text)
    with pytest.raises(BookError, match="s01, q6"):
        feedback.write(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["by_hand.csv", "records"]


def test_a_strange_id_stays_in_the_folder(tmp_path):
    made = [
        copy.deepcopy(record) | {"student": name}
        for record, name in zip(records(4), ("..", ".a", "@b", "-"), strict=False)
    ]
    save(tmp_path, made)
    assert {record["student"] for record in read_records(tmp_path)} == {"..", ".a", "@b", "-"}
    feedback.write(tmp_path)
    assert sorted(os.listdir(tmp_path / "feedback")) == ["-.html", "...html", ".a.html", "@b.html"]


def test_every_reason_has_words():
    codes = "ok blank wrong kind shape dtype nan raised timeout memory output died malformed skipped by-hand duplicate"
    codes += " missing unreadable too-large not-a-file several-files wrong-assignment kernel"
    assert set(codes.split()) == set(REASONS)
    assert all(word(code) and sentence(code) for code in REASONS if code not in ("ok", "by-hand"))
    assert word("new-code") == "new-code"
