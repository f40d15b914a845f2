"""When an answer equals the reference's, and what is said when it does not."""

import math

import numpy as np
import pytest
import torch

from course_lib.homework.questions import Part, Question, Sheet, compare, describe, show

CLOSE = (1e-5, 1e-7)
T, N = torch.tensor, np.array


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (3, 3),
        (np.int64(3), 3),
        (T(3), 3),
        (3.0, 3),
        (3, 3.0),
        (np.float32(0.1), 0.1),
        (T(0.1), 0.1),
        (0.1 + 1e-8, 0.1),
        (True, True),
        (np.True_, True),
        (T(True), True),
        ("relu", "relu"),
        (None, None),
        ([1, 2], (1, 2)),
        ((T(1.0), 2), [1.0, 2]),
        ({"b": 1, "a": [0.5]}, {"a": [0.5], "b": 1}),
        (T([1.0, 2.0]), T([1.0, 2.0])),
        (T([1.0, math.nan]), T([1.0, math.nan])),
        (T([True, False]), T([True, False])),
        (N([[1, 2]]), N([[1, 2]])),
        (math.inf, math.inf),
        (1 + 2j, 1 + 2j),
        (T([]), T([])),
    ],
    ids=repr,
)
def test_right_answers_in_other_forms_are_right(got, want):
    # catches: a numpy whole number, a 0-dimensional tensor or a tuple that loses points
    assert compare(got, want, CLOSE) == ("ok", "")


@pytest.mark.parametrize(
    ("got", "want", "reason"),
    [
        (4, 3, "wrong"),
        (3.5, 3, "kind"),
        (True, 1, "kind"),
        (1, True, "kind"),
        ("3", 3, "kind"),
        (None, 3, "kind"),
        (math.nan, 3, "kind"),
        (math.nan, 0.5, "nan"),
        (math.inf, 0.5, "nan"),
        (0.5, math.nan, "wrong"),
        (0.1001, 0.1, "wrong"),
        ([1], [1, 2], "shape"),
        ([1, 3], [1, 2], "wrong"),
        (T([1.0]), [1.0], "kind"),
        ({"a": 1}, {"b": 1}, "kind"),
        ({"a": 2}, {"a": 1}, "wrong"),
        ([("a", 1)], {"a": 1}, "kind"),
        (N([1.0]), T([1.0]), "kind"),
        ([1.0], T([1.0]), "kind"),
        (T([1.0], dtype=torch.float64), T([1.0]), "dtype"),
        (T([[1.0]]), T([1.0]), "shape"),
        (T([1.0, 2.0]), T([1.0]), "shape"),
        (T([math.nan, 2.0]), T([1.0, 2.0]), "nan"),
        (T([math.inf]), T([1.0]), "nan"),
        (T([1.0, 2.1]), T([1.0, 2.0]), "wrong"),
        (T([True]), T([False]), "wrong"),
        ("tanh", "relu", "wrong"),
        (1j, 0.5, "kind"),
        (10**18 + 1, 10**18, "wrong"),
    ],
    ids=repr,
)
def test_wrong_answers_get_a_reason_that_does_not_hold_the_answer(got, want, reason):
    # catches: each comparison left out; NaN that passes; 1.0 that passes for True
    found, message = compare(got, want, CLOSE)
    assert found == reason
    assert message
    assert reason != "wrong" or repr(want) not in message


def test_the_message_names_the_first_place():
    _, message = compare(T([[1.0, 2.0], [3.0, 9.0]]), T([[1.0, 2.0], [3.0, 4.0]]), CLOSE)
    assert "[1, 1]" in message
    assert "9" not in message
    assert "4.0" not in message


def test_close_is_relative_and_absolute():
    # catches: one of the two tolerances left out
    assert compare(1000.009, 1000.0, (1e-5, 0))[0] == "ok"
    assert compare(1000.02, 1000.0, (1e-5, 0))[0] == "wrong"
    assert compare(1e-8, 0.0, (1e-5, 1e-7))[0] == "ok"
    assert compare(1e-8, 0.0, (1e-5, 0))[0] == "wrong"


def test_values_are_described_without_their_content():
    assert describe(torch.zeros(4, 3)) == "a tensor of float32, shape (4, 3)"
    assert describe(np.zeros(2, dtype=int)) == "an array of int64, shape (2,)"
    assert describe([1, 2.0]) == "a list of 2 (int, float)"
    assert describe({"b": 1, "a": 2}) == "a dict with the keys a, b"
    assert describe(T(3.0)) == "a number"
    assert [describe(v) for v in (None, True, 3, 0.5, "x")] == [
        "None", "True or False", "a whole number", "a number", "a text",
    ]  # fmt: skip


def test_shown_values_stay_short():
    # catches: a huge answer that fills the feedback
    for value in (torch.zeros(10**6), ["x" * 10**5] * 50, {"a" * 999: "b" * 10**5}, "y" * 10**6, list(range(10**5))):
        assert len(show(value)) <= 300
    assert show(T([1.0, 2.5])) == "tensor([1, 2.5], shape (2,), float32)"
    assert show({"seed": [1] * 9, "loss": [0.5] * 9}) == "a table of 9 rows with the columns loss, seed"


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"points": 0}, "at least 1"),
        ({"points": 1.5}, "whole"),
        ({"times": 0}, "at least 1"),
        ({"times": 3}, "draw"),
        ({"compare": False}, "check"),
    ],
)
def test_a_part_is_checked_when_it_is_declared(wrong, word):
    with pytest.raises(ValueError, match=word):
        Part(**({"what": "x", "points": 1, "code": "x"} | wrong))


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"kind": "essay"}, "kind is one of"),
        ({"parts": ()}, "parts, or a rubric"),
        ({"kind": "written", "rubric": "…"}, "parts, or a rubric"),
        ({"kind": "written", "parts": ()}, "parts, or a rubric"),
        ({"seconds": 0}, "seconds"),
        ({"seconds": 500}, "seconds"),
    ],
)
def test_a_question_is_checked_when_it_is_declared(wrong, word):
    fields = {"id": "q1", "kind": "value", "points": 1, "parts": (Part("x", 1, "x"),)}
    with pytest.raises(ValueError, match=word):
        Question(**(fields | wrong))


def test_a_question_declared_twice_is_an_error():
    sheet = Sheet()
    sheet.written("q1", points=1, rubric="…")
    with pytest.raises(ValueError, match="twice"):
        sheet.written("q1", points=1, rubric="…")
