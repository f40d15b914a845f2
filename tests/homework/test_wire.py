"""Values between processes: what goes in comes out, and what is no value is refused."""

import json
import math
import os
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.homework import wire

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=20)
ARRAYS = st.sampled_from([*wire.SIZES]).flatmap(
    lambda dtype: st.lists(st.integers(0, 3), max_size=3).map(
        lambda shape: np.arange(100)[:1].astype(dtype) * np.ones(shape, dtype)
    )
)
VALUES = st.recursive(
    SCALARS | ARRAYS | ARRAYS.map(lambda a: torch.from_numpy(np.asarray(a))),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


def same(a, b):
    if isinstance(a, np.ndarray | np.generic | torch.Tensor):
        a_, b_ = np.asarray(a), np.asarray(b)
        kind = torch.Tensor if isinstance(a, torch.Tensor) else (np.ndarray, np.generic)
        return isinstance(b, kind) and a_.dtype == b_.dtype and a_.shape == b_.shape and np.array_equal(a_, b_)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


@given(VALUES)
def test_a_value_comes_back_as_it_was(value):
    # catches: a tuple that becomes a list, a lost dtype, a shape () that becomes (1,), arrays at wrong offsets
    tree, body = wire.encode(value)
    wire.check(tree, body)
    message = json.loads(json.dumps(tree))
    assert same(wire.decode(message, body), value)


def test_a_frame_passes_a_pipe_in_pieces():
    # catches: a reader that takes one read for a whole frame
    read, write = os.pipe()
    frame = wire.pack({"value": 1}, b"x" * 50_000)
    child = subprocess.Popen(
        [sys.executable, "-c", "import os, sys, time\nd = sys.stdin.buffer.read()\nfor i in range(0, len(d), 9999):\n"
         f"    os.write({write}, d[i:i+9999]); time.sleep(0.01)"],
        stdin=subprocess.PIPE, pass_fds=[write],
    )  # fmt: skip
    os.close(write)
    child.stdin.write(frame)
    child.stdin.close()
    assert wire.read(read, time.monotonic() + 30) == ({"value": 1}, b"x" * 50_000)
    with pytest.raises(wire.Closed):
        wire.read(read, time.monotonic() + 30)
    assert child.wait() == 0
    os.close(read)


def pipe(data):
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    return read


LENGTHS = struct.Struct(">4sIQ")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        LENGTHS.pack(b"HW01", 2**32 - 1, 0),
        LENGTHS.pack(b"HW01", 2, 2**63),
        LENGTHS.pack(b"HW01", 2, 0) + b"[]",
        LENGTHS.pack(b"HW01", 3, 0) + b"{x}",
        LENGTHS.pack(b"HW01", 60_000, 0) + b"[" * 60_000,
        LENGTHS.pack(b"HW01", 7, 0) + b'{"a":\xff}',
        LENGTHS.pack(b"HW01", 5_006, 0) + b'{"a":' + b"1" * 5_000 + b"}",
    ],
    ids=["http", "long head", "long body", "list", "no JSON", "deep", "no UTF-8", "long number"],
)
def test_bytes_that_are_no_frame_are_refused(data):
    # catches: a length that is believed, a RecursionError or UnicodeDecodeError that gets out
    file = pipe(data)
    with pytest.raises(wire.Malformed):
        wire.read(file, time.monotonic() + 5)
    os.close(file)


def test_a_silent_sender_is_waited_for_no_longer_than_the_deadline():
    read, write = os.pipe()
    os.write(write, LENGTHS.pack(b"HW01", 10, 0) + b"{")
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        wire.read(read, start + 0.3)
    assert time.monotonic() - start < 1.3
    os.close(read), os.close(write)


A = {"a": ["torch", "float32", [2], 0]}


@pytest.mark.parametrize(
    "tree",
    [
        {"a": ["torch", "float32", [3], 0]},  # beyond the body
        {"a": ["torch", "float32", [2], -8]},
        {"a": ["torch", "float32", [-1], 0]},
        {"a": ["torch", "float32", [2**50], 0]},
        {"a": ["torch", "float32", [2**39, 2**39, 0], 0]},
        {"a": ["torch", "float32", [2.0], 0]},
        {"a": ["torch", "float32", [True], 0]},
        {"a": ["torch", "float32", [1] * 9, 0]},
        {"a": ["torch", "object", [1], 0]},
        {"a": ["torch", ["float32"], [1], 0]},
        {"a": ["pickle", "float32", [1], 0]},
        {"a": [["torch"], "float32", [1], 0]},
        {"a": ["torch", "float32", 1, 0]},
        {"a": ["torch", "float32", [1]]},
        {"l": [A, A]},  # the same bytes twice: a small frame must not become a large value
        {"d": [["x", 1], ["x", 2]]},
        {"d": [["x"]]},
        {"d": [[1, 2]]},
        {"d": {"x": 1}},
        {"c": [1, 2]},
        {"l": 3},
        {"z": []},
        {"l": [], "t": []},
        {},
        [],
        2**63,
        {"l": [None] * (wire.MAX_ITEMS + 1)},
        "x" * (wire.MAX_TEXT + 1),
    ],
    ids=lambda tree: repr(tree)[:60],
)
def test_a_value_of_no_known_form_is_refused(tree):
    # catches: each check of `check` and `_check_array` left out
    with pytest.raises(wire.Malformed):
        wire.check(tree, b"\0" * 8)


def test_nesting_is_limited():
    tree = None
    for _ in range(wire.MAX_DEPTH + 2):
        tree = {"l": [tree]}
    with pytest.raises(wire.Malformed):
        wire.check(tree, b"")
    value = []
    value.append(value)
    with pytest.raises(wire.NotPlain):
        wire.encode(value)


@given(st.binary(max_size=200))
def test_any_json_either_decodes_or_is_refused(junk):
    # catches: a tree that passes the check and then breaks decode
    try:
        tree = json.loads(junk)
        wire.check(tree, b"\0" * 64)
    except (ValueError, wire.Malformed):
        return
    wire.decode(tree, b"\0" * 64)


SHAPES = st.lists(st.integers(-2, 9) | st.just(2**41), max_size=10)
NODES = st.recursive(
    SCALARS
    | st.tuples(
        st.sampled_from(["torch", "numpy", "x"]), st.sampled_from([*wire.SIZES, "O"]), SHAPES, st.integers(-9, 99)
    ).map(lambda a: {"a": list(a)}),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda v: {"l": v})
        | st.lists(st.tuples(st.text(max_size=3), inner).map(list), max_size=3).map(lambda v: {"d": v})
    ),
    max_leaves=8,
)


@given(NODES)
def test_what_passes_the_check_decodes(tree):
    # catches: a shape or dtype that `check` lets through and numpy or torch refuses
    body = bytes(range(64))
    try:
        wire.check(tree, body)
    except wire.Malformed:
        return
    wire.decode(tree, body)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (object(), "object"),
        ({1: 2}, "key"),
        (2**63, "64 bits"),
        (torch.zeros(2, dtype=torch.bfloat16), "bfloat16"),
        (torch.zeros(2).to_sparse(), "sparse"),
        (np.array([object()]), "object"),
        (np.array(["a"]), "<U1"),
        ([1, [2, {3}]], "item 1 of item 1"),
        (torch.zeros(wire.MAX_BODY // 4 + 8), "32 MB"),
        (lambda: 0, "function"),
    ],
    ids=lambda v: str(type(v).__name__),
)
def test_what_is_not_plain_is_named(value, word):
    with pytest.raises(wire.NotPlain, match=word):
        wire.encode(value)


def test_values_of_pandas_and_state_dicts_become_plain():
    import pandas as pd

    frame = pd.DataFrame({"seed": [1, 2], "loss": [0.5, math.nan]})
    tree, body = wire.encode(frame)
    assert same(wire.decode(tree, body), {"seed": [1, 2], "loss": [0.5, math.nan]})
    tree, body = wire.encode(torch.nn.Linear(2, 1).state_dict())
    assert list(wire.decode(tree, body)) == ["weight", "bias"]
    tree, body = wire.encode(torch.nn.Parameter(torch.ones(2)))
    assert same(wire.decode(tree, body), torch.ones(2))


def test_a_text_of_numpy_is_a_text():
    # catches: a right word that numpy gave, sent as an array
    tree, body = wire.encode({"word": np.where(np.array(1) > 0, "holds", "fails")[()]})
    assert same(wire.decode(tree, body), {"word": "holds"})


def test_bools_from_any_bytes_are_bools():
    value = wire.decode({"a": ["torch", "bool", [4], 0]}, bytes([0, 1, 2, 255]))
    assert value.tolist() == [False, True, True, True]
    assert int(value.sum()) == 3
