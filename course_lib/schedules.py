"""Learning-rate schedules: pure functions from the step to a factor on the rate.

`schedule(t)` is the number that multiplies the rule's learning rate in the update that follows t finished
ones, so t counts from 0. Chapter: 13_learning_rate_schedules.
Checked against: torch.optim.lr_scheduler.
"""

from dataclasses import dataclass

__all__ = ["Constant", "StepDecay"]


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
    Raises: ValueError outside these ranges.
    Checked against: torch.optim.lr_scheduler.StepLR.
    """

    every: int
    factor: float = 0.1

    def __post_init__(self):
        if self.every < 1 or self.every % 1:
            raise ValueError(f"every must be a whole number of steps ≥ 1, got {self.every}")
        if not 0 < self.factor <= 1:
            raise ValueError(f"factor must be in (0, 1], got {self.factor}")

    def __call__(self, t: int) -> float:
        """Return the factor after t finished steps."""
        return self.factor ** (t // self.every)
