r"""Rules that divide each weight's gradient by how large its gradients have been.

Chapter: 11_optimizers.   Checked against: torch.optim, 1e-12 in float64 over 200 steps.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.names import check_fraction, check_not_negative, check_positive
from course_lib.optimizers.rule import average, plus

__all__ = ["Adadelta", "Adagrad", "Deltas", "RMSProp", "Squares"]


class Squares(NamedTuple):
    """The state of Adagrad and RMSProp: the sum or the running mean of g², shaped as the weight."""

    v: Tensor


class Deltas(NamedTuple):
    """The state of Adadelta: the running means of g² and of the squared moves, shaped as the weight."""

    v: Tensor
    d: Tensor


@dataclass(frozen=True)
class Adagrad:
    r"""Adagrad: the gradient over the root of the sum of all its squares, so the step can only shrink.

    v ← v + g²
    w ← w − lr · g / (√v + eps)

    Lecture B divides by the root of the *mean* of g², which would not shrink: with the mean, the rate has to
    be lr / √t. Duchi et al. add eps (their δ) to the root too; the lecture has none.

    lr: step size > 0, in units of w.   eps: ≥ 0, outside the root, in units of g.
    Shapes: w, g, v are (*p,) or (R, *p).
    Raises: ValueError outside these ranges.
    Source: Duchi et al. 2011.   Checked against: torch.optim.Adagrad.
    """

    lr: float | Tensor = 1e-2
    eps: float | Tensor = 1e-10

    def __post_init__(self):
        check_positive("lr", self.lr)
        check_not_negative("eps", self.eps)

    def init(self, w):
        """Return the sum 0."""
        return Squares(torch.zeros_like(w))

    def step(self, w, g, s, t, out=None):
        """Return (w, state) after step t, which counts from 1."""
        v = s.v + g * g
        return plus(w, -self.lr, g, over=v.sqrt() + self.eps, out=out), Squares(v)


@dataclass(frozen=True)
class RMSProp:
    r"""RMSProp: the gradient over its running root mean square.

    v ← beta v + (1−beta) g²
    w ← w − lr · g / (√v + eps)

    This is PyTorch's form, with eps outside the root. Hinton's slides have no eps and beta = 0.9; lecture A
    and Keras put eps inside the root, where Keras's 1e-7 is a floor of 3e-4 under the denominator. v starts at
    0 and is not corrected for it, so the first steps are too long by up to 1/√(1−beta).

    lr: step size > 0, in units of w.   beta: in [0, 1).   eps: ≥ 0, outside the root, in units of g.
    Shapes: w, g, v are (*p,) or (R, *p).
    Raises: ValueError outside these ranges.
    Source: Tieleman & Hinton 2012.   Checked against: torch.optim.RMSprop (its alpha is our beta).
    """

    lr: float | Tensor = 1e-2
    beta: float | Tensor = 0.99
    eps: float | Tensor = 1e-8

    def __post_init__(self):
        check_positive("lr", self.lr)
        check_fraction("beta", self.beta)
        check_not_negative("eps", self.eps)

    def init(self, w):
        """Return the mean 0."""
        return Squares(torch.zeros_like(w))

    def step(self, w, g, s, t, out=None):
        """Return (w, state) after step t, which counts from 1."""
        v = average(s.v, g * g, self.beta)
        return plus(w, -self.lr, g, over=v.sqrt() + self.eps, out=out), Squares(v)


@dataclass(frozen=True)
class Adadelta:
    r"""Adadelta: RMSProp whose rate is the running root mean square of its own moves.

    v ← rho v + (1−rho) g²
    Δ = √((d + eps) / (v + eps)) · g
    d ← rho d + (1−rho) Δ²
    w ← w − lr · Δ

    Zeiler has no lr: leave it at 1. It is there for schedules, as in PyTorch. Unlike in the other rules eps is
    inside the root, where it sets the first move: √eps. Lecture E calls RMSProp "the same", which it is not:
    RMSProp has no d.

    lr: factor > 0 on the move.   rho: in [0, 1).   eps: > 0, inside the root (with 0 nothing would ever move).
    Shapes: w, g, v, d are (*p,) or (R, *p).
    Raises: ValueError outside these ranges.
    Source: Zeiler 2012, Alg. 1.   Checked against: torch.optim.Adadelta.
    """

    lr: float | Tensor = 1.0
    rho: float | Tensor = 0.9
    eps: float | Tensor = 1e-6

    def __post_init__(self):
        check_positive("lr", self.lr)
        check_fraction("rho", self.rho)
        check_positive("eps", self.eps)

    def init(self, w):
        """Return both means 0."""
        return Deltas(torch.zeros_like(w), torch.zeros_like(w))

    def step(self, w, g, s, t, out=None):
        """Return (w, state) after step t, which counts from 1."""
        v = average(s.v, g * g, self.rho)
        delta = ((s.d + self.eps) / (v + self.eps)).sqrt() * g
        d = average(s.d, delta * delta, self.rho)
        return plus(w, -self.lr, delta, out=out), Deltas(v, d)
