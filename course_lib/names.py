"""Names and numbers that cannot be meant: say so, with the value and the remedy."""

from collections.abc import Collection
from difflib import get_close_matches
from numbers import Integral

__all__ = ["check_name", "check_whole"]


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
