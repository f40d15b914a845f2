"""A name that is not known: say so, and suggest the nearest one that is."""

from collections.abc import Collection
from difflib import get_close_matches

__all__ = ["check_name"]


def check_name(what: str, given: str, known: Collection[str]) -> None:
    """Raise ValueError with the nearest name, and all of them, unless `given` is one of `known`."""
    if given not in known:
        near = get_close_matches(str(given).lower(), known, n=1, cutoff=0.0)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown {what} {given!r}: {hint}Known: {', '.join(known) or 'none'}")
