"""One progress bar for everything that can take more than a few seconds."""

import os
import sys

from tqdm import tqdm

__all__ = ["bar"]


def bar(total: int, *, initial: int = 0, unit: str = "step", show: bool | None = None) -> tqdm:
    """Return a tqdm bar on standard error that appears after three seconds.

    show: True or False; None shows it on a terminal outside CI, and nowhere else.
    """
    if show is None:
        show = sys.stderr.isatty() and not os.environ.get("CI")
    return tqdm(total=total, initial=initial, unit=unit, delay=3, leave=False, disable=not show)
