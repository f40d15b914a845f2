"""Schedules put together from others, and any of them as a `torch.optim.lr_scheduler`.

Chapter: 13_learning_rate_schedules.   Checked against: torch.optim.lr_scheduler, 1e-12 over 200 steps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from course_lib.names import check_fraction, check_whole
from course_lib.schedules.curves import Constant

__all__ = ["LinearWarmup", "Product", "Schedule", "Sequence", "torch_scheduler"]

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class LinearWarmup:
    """A straight rise from `start` to 1 over `steps` steps, then another schedule from its own beginning.

    schedule(t) = start + (1 − start) · t / steps   for t < steps, else then(t − steps)

    steps: whole number ≥ 1.   start: in [0, 1); with 0 the first update does nothing.
    then: a schedule; default: constant.   t counts finished steps, from 0.
    Raises: ValueError or TypeError outside these ranges.
    Source: Goyal et al. 2017.   Checked against: torch.optim.lr_scheduler.LinearLR and SequentialLR.
    """

    steps: int
    then: Schedule = Constant()  # noqa: RUF009
    start: float = 0.01

    def __post_init__(self):
        check_whole("steps", self.steps)
        _check_schedule("then", self.then)
        check_fraction("start", self.start)

    def __call__(self, t: int) -> float:
        """Return the factor after t finished steps."""
        if t < self.steps:
            return self.start + (1 - self.start) * t / self.steps
        return self.then(t - self.steps)


@dataclass(frozen=True)
class Sequence:
    """Schedules one after the other, each from its own beginning; the last one goes on for ever.

    parts: pairs (steps, schedule); steps: whole number ≥ 1. The last part's steps are not used.
    Raises: ValueError or TypeError for anything else.
    Checked against: torch.optim.lr_scheduler.SequentialLR.
    """

    parts: tuple[tuple[int, Schedule], ...]

    def __post_init__(self):
        if not self.parts:
            raise ValueError("a sequence needs at least one part (steps, schedule), got none")
        for steps, schedule in self.parts:
            check_whole("steps", steps)
            _check_schedule("schedule", schedule)

    def __call__(self, t: int) -> float:
        """Return the factor after t finished steps."""
        for steps, schedule in self.parts[:-1]:
            if t < steps:
                return schedule(t)
            t -= steps
        return self.parts[-1][1](t)


@dataclass(frozen=True)
class Product:
    """Schedules at the same time: the product of their factors.

    schedules: a tuple of schedules.   Raises: TypeError for anything else.
    Checked against: torch.optim.lr_scheduler.ChainedScheduler.
    """

    schedules: tuple[Schedule, ...]

    def __post_init__(self):
        for schedule in self.schedules:
            _check_schedule("each factor", schedule)

    def __call__(self, t: int) -> float:
        """Return the factor after t finished steps."""
        return math.prod(schedule(t) for schedule in self.schedules)


def torch_scheduler(optimizer: torch.optim.Optimizer, schedule: Schedule):
    """Return the schedule as a `torch.optim.lr_scheduler`, for a loop that calls its `step()` after every update.

    Raises: TypeError for `Performance`, which needs the validation loss: take torch's ReduceLROnPlateau.
    """
    _check_schedule("schedule", schedule)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)


def _check_schedule(what, schedule):
    if not callable(schedule):
        hint = (
            ": Performance looks at the validation loss, so it stands alone (in torch, take ReduceLROnPlateau)"
            * hasattr(schedule, "update")
        )
        raise TypeError(f"{what} must be a schedule, a function of the step, got {schedule!r}{hint}")
