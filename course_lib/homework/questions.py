"""What a grader cell declares: questions, their parts, and when an answer equals the reference's.

`Sheet.question`, `.part` and `.written` are the three names that a grader cell uses.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

__all__ = ["KINDS", "Part", "Question", "Sheet", "compare", "describe", "show"]

KINDS = ("function", "class", "value", "model", "table", "written")


@dataclass(frozen=True)
class Part:
    """What earns `points`: the value of `code`, on inputs drawn `times` times, all of them right.

    code: Python whose last line is an expression; run with the student's names and the drawn inputs.
    draw: rng → inputs by name.   close: (relative, absolute) tolerance.
    check: (got, want, given) → "" if right, else what is wrong; None compares with the reference's value.
    compare: whether the reference's value is needed; None: only without `check`.
    """

    what: str
    points: int
    code: str
    draw: Callable | None = None
    times: int = 1
    close: tuple[float, float] = (1e-5, 1e-7)
    check: Callable | None = None
    compare: bool | None = None

    def __post_init__(self):
        if self.points < 1 or self.points != int(self.points):
            raise ValueError(f"part {self.what!r}: points are whole and at least 1, got {self.points}")
        if self.times < 1 or (self.times > 1 and self.draw is None):
            raise ValueError(f"part {self.what!r}: times is at least 1, and more need a draw, got {self.times}")
        if self.check is None and self.compare is False:
            raise ValueError(f"part {self.what!r}: neither a check nor a comparison → give check=")

    @property
    def needs_reference(self) -> bool:
        """Whether the solution has to be run for this part."""
        return self.check is None if self.compare is None else self.compare


@dataclass(frozen=True)
class Question:
    """A question with its parts, or with a rubric where a person marks it.

    seconds: wall-clock limit of the answer cell, and of each evaluation.   after: questions whose solutions
    the reference needs.
    """

    id: str
    kind: str
    points: int
    parts: tuple[Part, ...] = ()
    seconds: float = 10
    after: tuple[str, ...] = ()
    rubric: str = ""

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"question {self.id}: kind is one of {', '.join(KINDS)}, got {self.kind!r}")
        if (self.kind == "written") == bool(self.parts) or (self.kind == "written") != bool(self.rubric):
            raise ValueError(f"question {self.id}: parts, or a rubric where a person marks")
        if not 0 < self.seconds <= 120:
            raise ValueError(f"question {self.id}: seconds are in (0, 120], got {self.seconds}")


@dataclass
class Sheet:
    """The questions that the grader cells of one assignment declare, by id, in order."""

    questions: dict[str, Question] = field(default_factory=dict)

    def part(self, what: str, points: int, code: str, **options) -> Part:
        """See `Part`."""
        return Part(what, points, code, **options)

    def question(self, id: str, *, kind: str, parts: list[Part], seconds: float = 10, after: tuple = ()) -> None:
        """Declare a question that the grader marks."""
        points = sum(part.points for part in parts)
        self._add(Question(id, kind, points, tuple(parts), seconds, tuple(after)))

    def written(self, id: str, *, points: int, rubric: str) -> None:
        """Declare a question that a person marks."""
        self._add(Question(id, "written", points, rubric=rubric))

    def _add(self, question):
        if question.id in self.questions:
            raise ValueError(f"question {question.id} is declared twice")
        self.questions[question.id] = question


# --- comparing --------------------------------------------------------------------------------------


def compare(got, want, close: tuple[float, float]) -> tuple[str, str]:
    """Whether `got` equals `want`: ("ok", "") or a reason code and a sentence that does not hold the answer.

    Tensors and arrays: the same kind, dtype and shape. A whole number may be of any integer kind and a real
    one of any kind; a tuple stands for a list. Numbers: |got − want| ≤ absolute + relative · |want|.
    """
    if isinstance(want, torch.Tensor | np.ndarray) and _array(want).ndim:
        return _compare_arrays(got, want, close)
    if isinstance(want, list | tuple):
        if not isinstance(got, list | tuple):
            return _other_kind(got, want)
        if len(got) != len(want):
            return "shape", f"{len(want)} items are expected, {len(got)} came back"
        return _first(compare(g, w, close) for g, w in zip(got, want, strict=True))
    if isinstance(want, dict):
        if not isinstance(got, dict):
            return _other_kind(got, want)
        if set(got) != set(want):
            return "kind", f"the keys {_names(want)} are expected, {_names(got)} came back"
        return _first(compare(got[name], want[name], close) for name in want)
    if isinstance(want, str | bool) or want is None:
        if _plain(type(_scalar(got))) is not _plain(type(want)):
            return _other_kind(got, want)
        return ("ok", "") if _scalar(got) == want else ("wrong", "another value is right")
    return _compare_numbers(got, want, close)


def _compare_arrays(got, want, close):
    if type(got) is not type(want):
        return _other_kind(got, want)
    if got.dtype != want.dtype:
        return "dtype", f"{_dtype(want)} is expected, {_dtype(got)} came back"
    if tuple(got.shape) != tuple(want.shape):
        return "shape", f"the shape {_shape(want)} is expected, {_shape(got)} came back"
    got, want = _array(got), _array(want)
    if got.dtype.kind not in "fc":
        return ("ok", "") if bool((got == want).all()) else ("wrong", f"{int((got != want).sum())} entries differ")
    if not np.isfinite(got[np.isfinite(want)]).all():
        return "nan", "some entries are NaN or infinite"
    wrong = ~np.isclose(got, want, rtol=close[0], atol=close[1], equal_nan=True)
    if not wrong.any():
        return "ok", ""
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    return "wrong", f"{int(wrong.sum())} of {wrong.size} entries are wrong, the first one at {list(place)}"


def _compare_numbers(got, want, close):
    value, target = _scalar(got), _scalar(want)
    if isinstance(value, bool) or not isinstance(value, int | float | complex):
        return _other_kind(got, want)
    if isinstance(target, int):
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if not whole:
            return "kind", f"a whole number is expected, {show(got)} came back"
        return ("ok", "") if value == target else ("wrong", "another number is right")
    if isinstance(value, complex) != isinstance(target, complex):
        return _other_kind(got, want)
    if value != value or abs(value) == math.inf:
        return ("ok", "") if value == target else ("nan", f"{value} came back")
    right = abs(value - target) <= close[1] + close[0] * abs(target)
    return ("ok", "") if right else ("wrong", "another number is right")


def _first(results):
    return next((result for result in results if result[0] != "ok"), ("ok", ""))


def _other_kind(got, want):
    return "kind", f"{describe(want)} is expected, {describe(got)} came back"


def _plain(kind):
    return bool if kind is np.bool_ else kind


def _scalar(value):
    if isinstance(value, torch.Tensor | np.ndarray | np.generic) and _array(value).ndim == 0:
        return _array(value).item()
    return value


def _array(value):
    return value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _dtype(value):
    return str(value.dtype).removeprefix("torch.")


def _shape(value):
    return f"({', '.join(map(str, value.shape))}{',' if len(value.shape) == 1 else ''})"


def _names(value):
    names = sorted(value)
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def describe(value) -> str:
    """What a value is, without what is in it: "a tensor of float32, shape (4, 3)"."""
    if isinstance(value, torch.Tensor | np.ndarray) and _array(value).ndim:
        kind = "a tensor" if isinstance(value, torch.Tensor) else "an array"
        return f"{kind} of {_dtype(value)}, shape {_shape(value)}"
    if isinstance(value, list | tuple):
        inner = dict.fromkeys(type(v).__name__ for v in value)
        return f"a {type(value).__name__} of {len(value)}" + (f" ({', '.join(inner)})" if inner else "")
    if isinstance(value, dict):
        return f"a dict with the keys {_names(value)}" if value else "an empty dict"
    words = {bool: "True or False", int: "a whole number", float: "a number", str: "a text", complex: "a number"}
    return "None" if value is None else words.get(type(_scalar(value)), f"a {type(value).__name__}")


def show(value, length: int = 300) -> str:
    """A value as a short text on one line."""
    if isinstance(value, torch.Tensor):
        text = f"tensor({_items(value)}, shape {_shape(value)}, {_dtype(value)})"
    elif isinstance(value, np.ndarray):
        text = f"array({_items(value)}, shape {_shape(value)}, {_dtype(value)})"
    elif isinstance(value, dict) and _is_table(value):
        text = f"a table of {len(next(iter(value.values())))} rows with the columns {_names(value)}"
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{name}: {show(v, length)}" for name, v in list(value.items())[:20]) + "}"
    elif isinstance(value, list | tuple):
        inner = ", ".join(show(v, length) for v in value[:20]) + (", …" if len(value) > 20 else "")
        text = f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    elif isinstance(value, float):
        text = f"{value:.6g}"
    else:
        text = repr(value)
    return text if len(text) <= length else text[: length - 1] + "…"


def _is_table(value):
    lengths = {len(column) if isinstance(column, list) else 0 for column in value.values()}
    return len(lengths) == 1 and min(lengths) > 4


def _items(value):
    flat = _array(value).reshape(-1)
    inner = ", ".join(f"{v:.4g}" if flat.dtype.kind in "fc" else str(v) for v in flat[:8])
    return f"[{inner}{', …' if flat.size > 8 else ''}]"
