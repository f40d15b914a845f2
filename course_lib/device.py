"""The device and the number of threads, both chosen on purpose."""

import os
from contextlib import contextmanager

import torch

__all__ = ["best_device", "set_threads", "threads"]


def best_device() -> torch.device:
    """Return the CUDA device if there is one, else the CPU.

    Apple's MPS is left out: it has no float64, which the checks against closed forms need.
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def set_threads(n: int | None = None) -> None:
    """Set how many threads one torch operation may use.

    n: at least 1. None takes the environment variable COURSE_THREADS, or 1 where it is unset.

    The book's networks are small. Splitting a 32×32 product over threads costs more than it saves: with
    torch's default, a training step of a small network takes several times as long on two cores. One
    thread is right for them; raise the number for large convolutional networks on a CPU.
    Raises: ValueError if n is below 1 or COURSE_THREADS is no whole number.
    """
    if n is None:
        text = os.environ.get("COURSE_THREADS", "1")
        if not text.isdecimal():
            raise ValueError(f"COURSE_THREADS must be a whole number ≥ 1, got {text!r}: unset it or set it to 1")
        n = int(text)
    if n < 1:
        raise ValueError(f"the number of threads must be at least 1, got {n}")
    torch.set_num_threads(n)


@contextmanager
def threads(n: int):
    """Run a block with `n` threads, then put the number back."""
    before = torch.get_num_threads()
    try:
        set_threads(n)
        yield
    finally:
        torch.set_num_threads(before)
