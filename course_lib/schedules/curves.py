r"""Schedules that follow one formula from the first step to the last.

Chapter: 13_learning_rate_schedules.   Checked against: torch.optim.lr_scheduler, 1e-12 over 200 steps.
"""

import math
from dataclasses import dataclass

from course_lib.names import check_fraction, check_positive, check_whole

__all__ = ["Constant", "Cosine", "Exponential", "OneCycle", "Power", "RangeTest", "StepDecay"]


@dataclass(frozen=True)
class Constant:
    """The factor 1 at every step."""

    def __call__(self, t: int) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True)
class StepDecay:
    """A drop by `factor` after every `every` steps.

    schedule(t) = factor ^ ⌊t / every⌋

    every: whole number of steps ≥ 1.   factor: in (0, 1].   t counts finished steps, from 0.
    Raises: ValueError or TypeError outside these ranges.
    Checked against: torch.optim.lr_scheduler.StepLR.
    """

    every: int
    factor: float = 0.1

    def __post_init__(self):
        check_whole("every, in steps,", self.every)
        _check_factor(self.factor)

    def __call__(self, t: int) -> float:
        """Return the factor after t finished steps."""
        return self.factor ** (t // self.every)


@dataclass(frozen=True)
class Exponential:
    """A smooth fall, by `factor` over every `steps` steps.

    schedule(t) = factor ^ (t / steps)

    steps: > 0.   factor: in (0, 1]; lecture C has 0.1.   t counts finished steps, from 0.
    Over s = steps steps the ratio is 0.1^((k+1)s/s) / 0.1^(ks/s) = 0.1; lecture C's exponents lack the s.
    Raises: ValueError outside these ranges.
    Checked against: torch.optim.lr_scheduler.ExponentialLR with gamma = factor^(1/steps).
    """

    steps: float
    factor: float = 0.1

    def __post_init__(self):
        check_positive("steps", self.steps)
        _check_factor(self.factor)

    def __call__(self, t: int) -> float:
        """Return the factor after t finished steps."""
        return self.factor ** (t / self.steps)


@dataclass(frozen=True)
class Power:
    """A fall that slows down: to ½, ⅓, ¼ … after each further `steps` steps, for power 1.

    schedule(t) = 1 / (1 + t / steps) ^ power

    steps: > 0.   power: > 0, lecture C's c.   t counts finished steps, from 0.
    Raises: ValueError outside these ranges.
    Source: Robbins & Monro 1951 (power in (½, 1] for convergence).   Checked against: its closed form.
    """

    steps: float
    power: float = 1.0

    def __post_init__(self):
        check_positive("steps", self.steps)
        check_positive("power", self.power)

    def __call__(self, t: int) -> float:
        """Return the factor after t finished steps."""
        return (1 + t / self.steps) ** -self.power


@dataclass(frozen=True)
class Cosine:
    """Half a cosine, from 1 down to `floor`, where it stays.

    schedule(t) = floor + (1 − floor) · (1 + cos(π t / steps)) / 2   for t ≤ steps, then floor

    steps: whole number ≥ 1.   floor: in [0, 1).   t counts finished steps, from 0.
    PyTorch's CosineAnnealingLR goes up again after T_max = steps, and has eta_min = floor · lr.
    Raises: ValueError or TypeError outside these ranges.
    Source: Loshchilov & Hutter 2017, without the restarts.
    Checked against: torch.optim.lr_scheduler.CosineAnnealingLR.
    """

    steps: int
    floor: float = 0.0

    def __post_init__(self):
        check_whole("steps", self.steps)
        check_fraction("floor", self.floor)

    def __call__(self, t: int) -> float:
        """Return the factor after t finished steps."""
        return _half_cosine(1.0, self.floor, min(t / self.steps, 1.0))


@dataclass(frozen=True)
class OneCycle:
    """One rise to the rule's rate and one long fall far below where it began, both half cosines.

    schedule(t): from start to 1 at t = rise · steps − 1, then to end at t = steps − 1, where it stays

    steps: whole number ≥ 3, the whole training.   rise: share of steps, with 1 < rise · steps ≤ steps − 1.
    start: in (0, 1], the first factor.   end: in (0, 1), the last.   t counts finished steps, from 0.
    The rule's lr is the *highest* rate (PyTorch's max_lr; start is 1/div_factor, end is start/final_div_factor).
    Smith's own cycle has straight lines and moves the momentum against the rate.
    Raises: ValueError or TypeError outside these ranges.
    Source: Smith & Topin 2018.   Checked against: torch.optim.lr_scheduler.OneCycleLR(cycle_momentum=False).
    """

    steps: int
    rise: float = 0.3
    start: float = 1 / 25
    end: float = 1 / 25e4

    def __post_init__(self):
        check_whole("steps", self.steps, 3)
        if not 1 < self.rise * self.steps <= self.steps - 1:
            raise ValueError(f"rise must be a share with 1 < rise · steps ≤ steps − 1, got {self.rise} of {self.steps}")
        _check_factor(self.start, "start")
        _check_factor(self.end, "end")

    def __call__(self, t: int) -> float:
        """Return the factor after t finished steps."""
        peak, last = self.rise * self.steps - 1, self.steps - 1
        if t <= peak:
            return _half_cosine(self.start, 1.0, t / peak)
        return _half_cosine(1.0, self.end, min((t - peak) / (last - peak), 1.0))


@dataclass(frozen=True)
class RangeTest:
    """The learning-rate range test: an exponential rise from `low` to `high`, to see where the loss turns.

    schedule(t) = low · (high / low) ^ (t / (steps − 1))   for t < steps, then high

    steps: whole number ≥ 2.   low, high: 0 < low < high, factors on the rule's lr.   t counts from 0.
    Smith raises the rate along a straight line; on a logarithmic axis every decade should get as many steps.
    Stop when the loss starts to deteriorate, not, as lecture A says, when the model overfits.
    Raises: ValueError or TypeError outside these ranges.
    Source: Smith 2017.   Checked against: torch.optim.lr_scheduler.ExponentialLR.
    """

    steps: int
    low: float = 1e-5
    high: float = 1e1

    def __post_init__(self):
        check_whole("steps", self.steps, 2)
        check_positive("low", self.low)
        check_positive("high", self.high)
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")

    def __call__(self, t: int) -> float:
        """Return the factor after t finished steps."""
        return self.low * (self.high / self.low) ** min(t / (self.steps - 1), 1.0)


def _half_cosine(start: float, end: float, share: float) -> float:
    """Return the value at `share` of the way along half a cosine from start to end, flat at both."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _check_factor(value, name="factor"):
    """Raise ValueError unless the value is in (0, 1]."""
    if not 0 < value <= 1:
        raise ValueError(f"{name} must be in (0, 1], got {value}")
