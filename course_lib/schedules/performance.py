"""Performance scheduling, the schedule that looks at the validation loss.

Chapter: 13_learning_rate_schedules.   Checked against: torch.optim.lr_scheduler.ReduceLROnPlateau.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.names import check_fraction, check_whole

__all__ = ["Performance", "Plateau"]


class Plateau(NamedTuple):
    """The state of `Performance`: one number, or one a run, in each tensor.

    factor: on the learning rate now.   best: the lowest loss that counted.   bad: losses since then.
    rest: how many of the next losses are not held against the run.
    """

    factor: Tensor
    best: Tensor
    bad: Tensor
    rest: Tensor


@dataclass(frozen=True)
class Performance:
    """Performance scheduling: a drop by `factor` when the validation loss has stopped improving.

    A loss counts as better if it is < best · (1 − threshold). After more than `patience` losses in a row that
    are not, the rate falls by `factor`, to `floor` at the lowest, and the next `cooldown` losses are not counted.

    Pure, like a rule: `init()` gives the state, `update(state, val_loss)` the next one, `state.factor` the
    factor. init((R,)) holds R runs, each with its own plateau; val_loss is then a tensor or array of R losses.

    factor: in (0, 1).   patience, cooldown: whole numbers of losses ≥ 0.   threshold, floor: in [0, 1).
    Raises: ValueError or TypeError outside these ranges.
    Checked against: torch.optim.lr_scheduler.ReduceLROnPlateau(mode="min", threshold_mode="rel", eps=0).
    """

    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    floor: float = 0.0

    def __post_init__(self):
        if not 0 < self.factor < 1:
            raise ValueError(f"factor must be in (0, 1), got {self.factor}")
        check_whole("patience", self.patience, 0)
        check_whole("cooldown", self.cooldown, 0)
        check_fraction("threshold", self.threshold)
        check_fraction("floor", self.floor)

    def init(self, shape: tuple[int, ...] = ()) -> Plateau:
        """Return the state before the first loss: factor 1. shape: () for one run, (R,) for R."""
        ones, zeros = torch.ones(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.int64)
        return Plateau(ones, ones * math.inf, zeros, zeros)

    def update(self, state: Plateau, val_loss: float | Tensor) -> Plateau:
        """Return the state after one more validation loss. NaN is never better."""
        loss = torch.as_tensor(val_loss, dtype=torch.float64, device=state.best.device)
        if loss.shape != state.best.shape:
            raise ValueError(f"val_loss must have the state's shape {tuple(state.best.shape)}, got {tuple(loss.shape)}")
        better = loss < state.best * (1 - self.threshold)
        resting = state.rest > 0
        bad = torch.where(better | resting, 0, state.bad + 1)
        drop = bad > self.patience
        return Plateau(
            factor=torch.where(drop, (state.factor * self.factor).clamp(min=self.floor), state.factor),
            best=torch.where(better, loss, state.best),
            bad=torch.where(drop, 0, bad),
            rest=torch.where(drop, self.cooldown, torch.where(resting, state.rest - 1, 0)),
        )
