"""Feedback: a page for each student, and a summary for the instructor, from the records and points by hand.

    OUT/feedback/<student>.html    one student's points, what was asked, what came back; nothing of another's
    OUT/summary.html               distribution, hardest questions, what a person should look at

Everything on a page may be hostile: templates escape it, control and direction characters are made visible, and
the page's own policy allows neither scripts nor requests. The same records give the same bytes.
Checked against: axe and Chromium at two widths, light and dark; hostile strings in every field.
"""

from course_lib.book.pages import write_text
from course_lib.homework.reasons import UNANSWERED, sentence, word
from course_lib.homework.records import by_hand_rows, merged, number, plain, read_by_hand, read_records, total
from course_lib.homework.rendering import GENERATOR, label_of, name_of, shown, template
from course_lib.homework.summary import summary

__all__ = ["write"]


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
    pages[out / "summary.html"] = summary(marked, rows)
    folder.mkdir(exist_ok=True)
    for path, text in pages.items():
        write_text(path, text)
    for path in set(folder.glob("*.html")) - set(pages):
        if path.is_file() and GENERATOR.encode() in path.read_bytes()[:1000]:
            path.unlink()
    return list(pages)


def _feedback(record, comments):
    """The page of one student: from this record alone."""
    return template("feedback.html").render(
        {name: record[name] for name in ("title", "student", "reason", "flags", "output")},
        name=name_of(record),
        said=_said(record.get("message", ""), record["reason"])[0],
        total=total(record),
        questions=[
            _question(row, comments.get(row["question"], ""), record["reason"] == "ok") for row in record["questions"]
        ],
    )


def _question(row, comment, handed_in):
    """What the page shows of a question. The rubric holds the model answer: not for who may yet hand in."""
    waiting, written = row["points"] is None, row["kind"] == "written"
    answered = row["reason"] not in UNANSWERED
    answer, parts = (row["answer"], row["parts"]) if answered else ("", [])
    rubric = row.get("rubric", "") if handed_in else ""
    partly = not waiting and 0 < row["points"] < row["max"]
    result = "Partly right" if partly and parts and row["reason"] != "by-hand" else word(row["reason"])
    said, trace = _said(row["message"], "ok" if parts else row["reason"])
    return {
        "id": plain(row["question"]),
        "label": label_of(row),
        "score": f"{'–' if waiting else number(row['points'])} of {number(row['max'])}",
        "short": shown(row["question"].removeprefix("q")),
        "result": "Not yet marked" if waiting else result,
        "tone": "wait" if waiting else "part" if partly else "good" if row["points"] == row["max"] else "bad",
        "said": ". A person reads this answer." if waiting else said,
        "trace": trace,
        "parts": [_part(part, row["message"]) for part in parts],
        "comment": comment,
        "rubric": rubric,
        "answer": answer,
        "written": written,
        "details": handed_in and any((row["message"], parts, comment, rubric, answer)),
    }


def _part(part, said_above):
    rows = [("Asked", part.get("asked")), ("Expected", part.get("expected")), ("Came back", part.get("got"))]
    message = part["message"] if part["message"] not in said_above else ""
    said, trace = _said(message, part["reason"] if not part["message"] else "ok")
    return {
        "what": part["what"],
        "score": f"{number(part['points'])} of {number(part['max'])}",
        "result": word(part["reason"]),
        "tone": "good" if part["reason"] == "ok" else "bad",
        "said": said,
        "trace": trace,
        "rows": [(term, text) for term, text in rows if text],
    }


def _said(message, reason):
    """(words, lines) after a result: a message of one line, or what the reason means; several lines as they are."""
    message = message.strip()
    if "\n" in message:
        return ".", message
    if message:
        return f": {message}{'.' * message[-1].isalnum()}", ""
    return f". {sentence(reason)}".rstrip(), ""
