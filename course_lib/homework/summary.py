"""The instructor's page: the distribution of points, the hardest questions, what a person should look at."""

import statistics
from collections import Counter, defaultdict

from course_lib.homework.reasons import UNANSWERED, word
from course_lib.homework.records import number, plain, same_text, total
from course_lib.homework.rendering import label_of, name_of, template

__all__ = ["summary"]

LIMITS = ("timeout", "memory", "output", "died", "malformed")
BINS = 10


def summary(records, by_hand):
    """The page, from `merged` records and the rows of by_hand.csv."""
    graded = [record for record in records if record["reason"] == "ok"]
    totals = [total(record) for record in graded]
    points = [float(row.points) for row in totals] or [0.0]
    return template("summary.html").render(
        title=records[0]["title"],
        handed_in=len(graded),
        median=number(statistics.median(points)),
        mean=number(statistics.fmean(points)),
        best=number(total(records[0]).max),
        waiting=sum(len(total(record).waiting) for record in records),
        unsandboxed=sum(record["sandbox"] == "unsandboxed" for record in records),
        chart=_chart([share_of(row.points, row.max) for row in totals]),
        questions=_hardest(graded),
        eye=[(heading, text, rows) for heading, text, rows in _eye(records, by_hand) if rows],
        students=[_line(record) for record in records],
        reasons=sorted(
            Counter(row["reason"] for record in graded for row in record["questions"]).items(),
            key=lambda item: (-item[1], item[0]),
        ),
    )


def _chart(shares):
    """The histogram of shares in per cent as positions in a drawing, and in words."""
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
        share = share_of(sum(row["points"] for row in marked), sum(row["max"] for row in marked)) if marked else None
        trouble = Counter(row["reason"] for row in marked if row["reason"] not in ("ok", "by-hand")).most_common(1)
        rows.append(
            {
                "label": label_of(found[0]),
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
    text = "The points in by_hand.csv were given for another answer. Empty them and grade again to see the new one."
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
    share = share_of(result.points, result.max)
    return {
        "student": record["student"],
        "name": name_of(record),
        "points": result.points,
        "max": result.max,
        "share": share,
        "remarks": ", ".join(remarks),
    }


def share_of(points, best):
    """Points in per cent of `best`, rounded to a whole number; 0 of 0 is 0."""
    return round(100 * points / best) if best else 0
