"""Feedback: a page for each student, and a summary for the instructor, from the records and points by hand.

    OUT/feedback/<student>.html    one student's points, what was asked, what came back; nothing of another's
    OUT/summary.html               distribution, hardest questions, what a person should look at

Everything on a page may be hostile: templates escape it, control and direction characters are made visible, and
the page's own policy allows neither scripts nor requests. The same records give the same bytes.
Checked against: axe and Chromium at two widths, light and dark; hostile strings in every field.
"""

import re
import statistics
from collections import Counter, defaultdict
from functools import cache
from urllib.parse import quote

import jinja2

from course_lib.book.pages import write_text
from course_lib.homework.reasons import sentence, word
from course_lib.homework.records import (
    by_hand_rows,
    merged,
    number,
    plain,
    read_by_hand,
    read_records,
    same_text,
    total,
)

__all__ = ["write"]

GENERATOR = "course homework feedback"
# Characters that turn the order of what follows them: made visible, or code could read as other code.
TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
UNANSWERED = ("blank", "skipped")
LIMITS = ("timeout", "memory", "output", "died", "malformed")
BINS = 10


def write(out):
    """Write all pages below the folder `out`; returns their paths, the summary last.

    A page is written whole or not at all, and only if it changed. Pages of students without a record go, if
    they are ours. Raises: BookError for damaged records or points; nothing is written then.
    """
    records, rows = read_records(out), by_hand_rows(out / "by_hand.csv")
    marked = merged(records, read_by_hand(out / "by_hand.csv"))
    comments = {key: row["comment"].strip() for key, row in rows.items()}
    folder = out / "feedback"
    pages = {
        folder / f"{record['student']}.html": _feedback(
            record, {question: text for (student, question), text in comments.items() if student == record["student"]}
        )
        for record in marked
    }
    pages[out / "summary.html"] = _summary(marked, rows)
    folder.mkdir(exist_ok=True)
    for path, text in pages.items():
        write_text(path, text)
    for path in set(folder.glob("*.html")) - set(pages):
        if path.is_file() and GENERATOR.encode() in path.read_bytes()[:1000]:
            path.unlink()
    return list(pages)


# --- one student ------------------------------------------------------------------------------------


def _feedback(record, comments):
    """The page of one student: from this record alone."""
    return _template("feedback.html").render(
        {name: record[name] for name in ("title", "student", "reason", "flags", "output")},
        name=_name(record),
        total=total(record),
        questions=[
            _question(row, comments.get(row["question"], ""), record["reason"] == "ok") for row in record["questions"]
        ],
    )


def _question(row, comment, handed_in):
    """What the page shows of a question. The rubric holds the model answer: not for who may yet hand in."""
    waiting, written = row["points"] is None, row["kind"] == "written"
    answer = row["answer"] if row["reason"] not in UNANSWERED else ""
    rubric = row.get("rubric", "") if handed_in else ""
    partly = not waiting and 0 < row["points"] < row["max"]
    result = "Partly right" if partly and row["parts"] else word(row["reason"])
    return {
        "id": plain(row["question"]),
        "label": _label(row),
        "score": f"{'–' if waiting else number(row['points'])} of {number(row['max'])}",
        "short": _shown(row["question"].removeprefix("q")),
        "result": "Not yet marked" if waiting else result,
        "tone": "wait" if waiting else "part" if partly else "good" if row["points"] == row["max"] else "bad",
        "sentence": "A person reads this answer." if waiting else "" if row["parts"] else sentence(row["reason"]),
        "message": row["message"],
        "parts": [_part(part) for part in row["parts"]],
        "comment": comment,
        "rubric": rubric,
        "answer": answer,
        "written": written,
        "details": any((row["message"], row["parts"], comment, rubric, answer)),
    }


def _part(part):
    rows = [("Asked", part["asked"]), ("Expected", part["expected"]), ("Came back", part["got"])]
    several = "\n" in part["message"].strip()
    return {
        "what": part["what"],
        "score": f"{number(part['points'])} of {number(part['max'])}",
        "result": word(part["reason"]),
        "tone": "good" if part["reason"] == "ok" else "bad",
        "sentence": "" if several else part["message"] or sentence(part["reason"]),
        "trace": part["message"] if several else "",
        "rows": [(term, text) for term, text in rows if text],
    }


def _name(record):
    return " ".join(str(record["name"]).split()) or record["student"]


def _label(row):
    return _shown(f"Question {row['question'].removeprefix('q')}: {row['title']}")


# --- the summary ------------------------------------------------------------------------------------


def _summary(records, by_hand):
    """The instructor's page."""
    graded = [record for record in records if record["reason"] == "ok"]
    totals = [total(record) for record in graded]
    points = [float(row.points) for row in totals] or [0.0]
    return _template("summary.html").render(
        title=records[0]["title"],
        handed_in=len(graded),
        median=number(statistics.median(points)),
        mean=number(statistics.fmean(points)),
        best=number(total(records[0]).max),
        waiting=sum(len(total(record).waiting) for record in records),
        unsandboxed=sum(record["sandbox"] == "unsandboxed" for record in records),
        chart=_chart([_share(row.points, row.max) for row in totals]),
        questions=_hardest(graded),
        eye=[(heading, text, rows) for heading, text, rows in _eye(records, by_hand) if rows],
        students=[_line(record) for record in records],
        reasons=sorted(
            Counter(row["reason"] for record in graded for row in record["questions"]).items(),
            key=lambda item: (-item[1], item[0]),
        ),
    )


def _chart(shares):
    """The histogram of shares in per cent as positions in a drawing 360 wide, and in words."""
    counts = [0] * BINS
    for share in shares:
        counts[min(int(share * BINS / 100), BINS - 1)] += 1
    tallest = max(*counts, 1)
    ends = [f"{100 * i // BINS} to {100 * (i + 1) // BINS}" for i in range(BINS)]
    bars = [
        {"x": 12 + 34 * i, "y": 150 - height, "height": height, "count": count}
        for i, count in enumerate(counts)
        for height in [round(125 * count / tallest)]
    ]
    words = "; ".join(f"{end} per cent: {count}" for end, count in zip(ends, counts, strict=True) if count)
    ticks = [{"x": 10 + 34 * i, "text": 100 * i // BINS} for i in range(0, BINS + 1, 2)]
    return {"bars": bars, "ticks": ticks, "text": f"Histogram of the share of points. Students: {words or 'none'}."}


def _hardest(graded):
    """A row a question, by the mean share of points of those who handed in; what nobody marked comes last."""
    answers = defaultdict(list)
    for record in graded:
        for row in record["questions"]:
            answers[row["question"]].append(row)
    rows = []
    for found in answers.values():
        marked = [row for row in found if row["points"] is not None]
        share = _share(sum(row["points"] for row in marked), sum(row["max"] for row in marked)) if marked else None
        trouble = Counter(row["reason"] for row in marked if row["reason"] not in ("ok", "by-hand")).most_common(1)
        rows.append(
            {
                "label": _label(found[0]),
                "share": share,
                "full": sum(row["points"] == row["max"] for row in marked),
                "marked": len(marked),
                "trouble": f"{word(trouble[0][0])} ({trouble[0][1]})" if trouble else "–",
            }
        )
    return sorted(rows, key=lambda row: (row["share"] is None, row["share"], row["label"]))


def _eye(records, by_hand):
    """(heading, what to do, rows) of what a program should not decide."""
    questions = [(record["student"], row) for record in records for row in record["questions"]]
    present = {(student, row["question"]): row for student, row in questions}

    def those(*reasons):
        found = defaultdict(list)
        for student, row in questions:
            if row["reason"] in reasons:
                found[student].append(f"{row['question']} {word(row['reason']).lower()}")
        return [_row([student], ", ".join(texts)) for student, texts in found.items()]

    refused = [_row([record["student"]], word(record["reason"])) for record in records if record["reason"] != "ok"]
    yield "Nothing that could be graded", "", refused
    flags = [_row([record["student"]], "; ".join(record["flags"])) for record in records if record["flags"]]
    yield "Flags", "Locked cells were put back before grading.", flags
    yield "Cells that are there twice", "None of them was taken.", those("duplicate")
    yield "Stopped by a limit, or unreadable", "An honest answer can do this, too.", those(*LIMITS)
    waiting = [_row([record["student"]], ", ".join(total(record).waiting)) for record in records]
    yield "Not yet marked", "Give the points in by_hand.csv.", [row for row in waiting if row["text"]]
    changed = [
        _row([key[0]], key[1])
        for key, row in sorted(by_hand.items())
        if key in present and row["points"] and row["answer"] and not _same_cell(row["answer"], present[key]["answer"])
    ]
    text = "The points in by_hand.csv were given for another answer. Correct them, and empty the row's answer."
    yield "Changed after it was marked", text, changed
    lost = [_row([], ", ".join(key)) for key, row in sorted(by_hand.items()) if row["points"] and key not in present]
    text = "Rows of by_hand.csv with points that no record matches. Spreadsheets turn an id such as 007 into 7."
    yield "Points for nobody here", text, lost
    text = "A hint, no more: short answers agree by chance. White space is not compared."
    yield "The same answer", text, _identical(questions)


def _same_cell(cell, answer):
    return same_text(cell.removeprefix("'"), plain(answer).removeprefix("'"))


def _identical(questions):
    """Groups of students whose answers to a question agree; the longest answers first."""
    groups = defaultdict(list)
    for student, row in questions:
        text = " ".join(row["answer"].split())
        if text and row["reason"] not in UNANSWERED:
            groups[row["question"], text].append(student)
    found = [(len(text), name, students) for (name, text), students in groups.items() if len(students) > 1]
    return [
        _row(students, f"{name}, {length} characters")
        for length, name, students in sorted(found, key=lambda group: (-group[0], group[1:]))
    ]


def _row(students, text):
    return {"students": students, "text": text}


def _line(record):
    result = total(record)
    remarks = [] if record["reason"] == "ok" else [word(record["reason"])]
    remarks += [f"{len(result.waiting)} not yet marked"] * bool(result.waiting)
    remarks += ["flags"] * bool(record["flags"]) + ["no sandbox"] * (record["sandbox"] == "unsandboxed")
    share = _share(result.points, result.max)
    return {
        "student": record["student"],
        "name": _name(record),
        "points": result.points,
        "max": result.max,
        "share": share,
        "remarks": ", ".join(remarks),
    }


def _share(points, best):
    """Points in per cent of `best`, rounded to a whole number; 0 of 0 is 0."""
    return round(100 * points / best) if best else 0


# --- text on a page ---------------------------------------------------------------------------------


@cache
def _environment():
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("course_lib.homework"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["generator"] = GENERATOR
    environment.filters |= {"shown": _shown, "clip": _clip, "last": _last, "number": number, "word": word}
    environment.filters |= {"sentence": sentence, "address": _address}
    return environment


def _template(name):
    return _environment().get_template(name)


def _shown(value):
    """A string with nothing in it that cannot be seen."""
    return TURNS.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", plain(str(value)))


def _clip(text, length=1000):
    """The beginning of a text."""
    return text if len(text) <= length else f"{text[:length]}… ({len(text) - length:,} more characters)"


def _last(text, length=2000):
    """The end of a text: where a traceback says what went wrong."""
    return text if len(text) <= length else f"… {text[-length:]}"


def _address(student):
    return f"feedback/{quote(student, safe='')}.html"
