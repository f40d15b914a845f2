r"""Gradient descent, and its momentum in two forms.

Chapter: 11_optimizers.   Checked against: torch.optim.SGD, 1e-12 in float64 over 200 steps.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.names import check_fraction, check_positive
from course_lib.optimizers.rule import plus

__all__ = ["SGD", "Momentum", "Nesterov", "Velocity"]


class Nothing(NamedTuple):
    """The state of a rule that remembers nothing."""


class Velocity(NamedTuple):
    """The state of momentum: v, shaped as the weight."""

    v: Tensor


@dataclass(frozen=True)
class SGD:
    r"""Gradient descent, stochastic when g comes from a mini-batch.

    w ← w − lr · g

    lr: step size > 0 and finite, in units of w per unit of g.
    Shapes: w, g are (*p,); a leading axis of runs (R, *p) is allowed.
    Raises: ValueError if lr is not positive.
    Source: Robbins & Monro 1951.   Checked against: torch.optim.SGD.
    """

    lr: float | Tensor = 1e-2

    def __post_init__(self):
        check_positive("lr", self.lr)

    def init(self, w):
        """Return the empty state."""
        return Nothing()

    def step(self, w, g, s, t, out=None):
        """Return (w, state) after step t, which counts from 1."""
        return plus(w, -self.lr, g, out=out), s


@dataclass(frozen=True)
class Momentum:
    r"""Gradient descent with momentum (the heavy ball), in PyTorch's form.

    v ← momentum · v + g
    w ← w − lr · v

    Polyak and lecture A put lr inside: v ← momentum · v − lr · g, w ← w + v. The two agree while lr is
    constant; when lr changes, PyTorch's form applies the new rate at once to the whole velocity.

    lr: step size > 0.   momentum: in [0, 1).   Shapes: w, g, v are (*p,) or (R, *p).
    Raises: ValueError outside these ranges.
    Source: Polyak 1964.   Checked against: torch.optim.SGD(momentum=…, dampening=0).
    """

    lr: float | Tensor = 1e-2
    momentum: float | Tensor = 0.9

    def __post_init__(self):
        check_positive("lr", self.lr)
        check_fraction("momentum", self.momentum)

    def init(self, w):
        """Return the velocity 0."""
        return Velocity(torch.zeros_like(w))

    def step(self, w, g, s, t, out=None):
        """Return (w, state) after step t, which counts from 1."""
        v = plus(g, self.momentum, s.v)
        return plus(w, -self.lr, v, out=out), Velocity(v)


@dataclass(frozen=True)
class Nesterov(Momentum):
    r"""Nesterov's momentum, in PyTorch's form: the velocity looks one step ahead.

    v ← momentum · v + g
    w ← w − lr · (g + momentum · v)

    Sutskever et al. (2013) and lecture A keep another point, y = w + momentum · v with lr inside v, and take
    the gradient at that look-ahead point. Here w is the look-ahead point itself, so the gradient is taken
    where the weights are; at constant lr both make the same sequence of look-ahead points.

    lr: step size > 0.   momentum: in [0, 1).   Shapes: w, g, v are (*p,) or (R, *p).
    Raises: ValueError outside these ranges.
    Source: Nesterov 1983; Sutskever et al. 2013.   Checked against: torch.optim.SGD(nesterov=True).
    """

    def step(self, w, g, s, t, out=None):
        """Return (w, state) after step t, which counts from 1."""
        v = plus(g, self.momentum, s.v)
        return plus(w, -self.lr, plus(g, self.momentum, v), out=out), Velocity(v)
