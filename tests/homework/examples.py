"""Twenty records as grading writes them, drawn with a seed; by hand, so that the pages are tested without a grader."""

import json
import random

NAMES = [
    "Ada Lovelace",
    "Émilie du Châtelet",
    "دينا خليل",
    "O'Neil, Sean",
    'Zoë "Zo" Müller',
    "李 明",
    "Noor\nde Vries",
]
TITLES = [
    ("q1", "Shares that add up", "function", 4),
    ("q2", "Batches in an epoch", "value", 2),
    ("q3", "A scaler that remembers", "class", 5),
    ("q4", "Train until it fits", "model", 6),
    ("q5", "Two seeds are not enough", "table", 5),
    ("q6", "What leaked?", "written", 4),
]
TRACE = 'Traceback (most recent call last):\n  File "q1", line 3, in split_sizes\nZeroDivisionError: division by zero'
FAULTS = {
    "wrong": "The sizes add up to another number than n.",
    "kind": "It is a list; a tuple was asked for.",
    "shape": "The shape is (3, 2); another was asked for.",
    "dtype": "The numbers are float64; another type was asked for.",
    "nan": "Some of the numbers are not finite.",
    "raised": TRACE,
    "timeout": "It ran longer than 10 seconds.",
    "memory": "It used more than 4 GB.",
}


def records(count=20, seed=5):
    """`count` records, the last of a student who handed in nothing, the one before of a copied notebook."""
    rng = random.Random(seed)
    made = [record(rng, index) for index in range(count)]
    for row in made[-1]["questions"]:
        row |= {"points": 0, "reason": "skipped", "answer": "", "parts": [], "message": ""}
    made[-1] |= {"submission": None, "reason": "missing", "output": "", "flags": []}
    for row, copied in zip(made[-2]["questions"], made[0]["questions"], strict=True):
        row["answer"] = copied["answer"]
    return made


def record(rng, index):
    """One record: the better the student, the fewer parts fail."""
    student, skill = f"s{index:02d}", rng.uniform(0.3, 1)
    name = NAMES[index] if index < len(NAMES) else f"Student {index:02d}"
    questions = [question(rng, skill, *entry) for entry in TITLES]
    return {
        "student": student,
        "name": name,
        "assignment": "hw01_data_and_gradients",
        "title": "Homework 1: data and gradients",
        "sandbox": "bubblewrap",
        "key": f"{rng.getrandbits(64):016x}",
        "submission": f"{student}/hw01.ipynb",
        "reason": "ok",
        "flags": ["locked cells changed: q3-check"] if index % 7 == 3 else [],
        "output": f"loss {rng.random():.3f}\n",
        "questions": questions,
    }


def question(rng, skill, name, title, kind, best):
    """One question of a record."""
    base = {"question": name, "title": title, "kind": kind, "max": best, "message": "", "parts": [], "reason": "ok"}
    if kind == "written":
        rubric = "1 point: names the leak.\n2 points: says how it changes the score.\n1 point: a remedy."
        text = f"The mean was computed on all {rng.randrange(1000)} rows, so the test rows leaked into training."
        return base | {"points": None, "reason": "by-hand", "rubric": rubric, "answer": text}
    variant = rng.randrange(1000)
    body = f"    sizes = [int(n * s) for s in shares]\n    sizes[0] += {variant}\n    return sizes"
    source = f"def split_sizes(n, shares):\n{body}"
    if rng.random() > skill + 0.3:
        return base | {"points": 0, "reason": "blank", "answer": "raise NotImplementedError"}
    parts = [part(rng, skill, points) for points in (best - best // 2, best // 2)]
    reason = next((row["reason"] for row in parts if row["reason"] != "ok"), "ok")
    points = sum(row["points"] for row in parts)
    message = TRACE if reason == "raised" else ""
    return base | {"points": points, "reason": reason, "answer": source, "parts": parts, "message": message}


def part(rng, skill, points):
    """One part of a question."""
    reason = "ok" if rng.random() < skill else rng.choice(sorted(FAULTS))
    return {
        "what": rng.choice(["an ordinary call", "sizes add up", "an empty list", "one share"]),
        "points": points if reason == "ok" else 0,
        "max": points,
        "reason": reason,
        "message": FAULTS.get(reason, ""),
        "asked": f"split_sizes(n={rng.randrange(50, 500)}, shares=[0.8, 0.2])",
        "expected": "a list of 2 int",
        "got": "" if reason in ("raised", "timeout", "memory") else f"[{rng.randrange(400)}, {rng.randrange(100)}]",
    }


def save(out, made):
    """Write the records where grading does."""
    (out / "records").mkdir(parents=True, exist_ok=True)
    for row in made:
        (out / "records" / f"{row['student']}.json").write_text(json.dumps(row), encoding="utf-8")
    return out
