"""Names and numbers that cannot be meant: say so, with the value and the remedy."""

import math
from collections.abc import Collection
from difflib import get_close_matches
from numbers import Integral

__all__ = ["check_fraction", "check_name", "check_not_negative", "check_positive", "check_whole"]


def check_name(what: str, given: str, known: Collection[str]) -> None:
    """Raise ValueError with the nearest name, and all of them, unless `given` is one of `known`."""
    if given not in known:
        near = get_close_matches(str(given).lower(), known, n=1, cutoff=0.0)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown {what} {given!r}: {hint}Known: {', '.join(known) or 'none'}")


def check_whole(what: str, given: int, low: int = 1) -> None:
    """Raise TypeError unless `given` is a whole number, ValueError if it is below `low`."""
    if isinstance(given, bool) or not isinstance(given, Integral):
        raise TypeError(f"{what} must be a whole number, got {given!r}")
    if given < low:
        raise ValueError(f"{what} must be at least {low}, got {given}")


def check_positive(what: str, given) -> None:
    """Raise ValueError unless a number, or every element of a tensor, is > 0 and finite."""
    _check(what, given, (given > 0) & (given < math.inf), "> 0 and finite")


def check_not_negative(what: str, given) -> None:
    """Raise ValueError unless a number, or every element of a tensor, is ≥ 0 and finite."""
    _check(what, given, (given >= 0) & (given < math.inf), "≥ 0 and finite")


def check_fraction(what: str, given) -> None:
    """Raise ValueError unless a number, or every element of a tensor, is in [0, 1)."""
    _check(what, given, (given >= 0) & (given < 1), "in [0, 1)")


def _check(what, given, holds, wanted):
    if not (holds.all() if hasattr(holds, "all") else holds):
        raise ValueError(f"{what} must be {wanted}, got {given}")
