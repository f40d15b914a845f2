r"""SWATS: Adam first, then SGD, with the switch and SGD's rate found on the way.

Chapter: 11_optimizers.   Checked against: the paper's algorithm, written out in NumPy in the tests.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.names import check_positive
from course_lib.optimizers.moments import Adam
from course_lib.optimizers.rule import average, power

__all__ = ["SWATS", "SwatsState"]


class SwatsState(NamedTuple):
    """The state of SWATS. m, v: Adam's moments; after the switch v is SGD's velocity, and m rests.

    rate: λ, the running mean of γ.   sgd: 0 in Adam's phase, then Λ / lr, SGD's rate in units of Adam's. Both ().
    """

    m: Tensor
    v: Tensor
    rate: Tensor
    sgd: Tensor


@dataclass(frozen=True)
class SWATS:
    r"""SWATS: Adam until the rate that SGD would need along Adam's step has settled, then SGD at that rate.

    Adam:  m ← β₁ m + (1−β₁) g          v ← β₂ v + (1−β₂) g²
           p = −lr · √(1−β₂ᵗ) / (1−β₁ᵗ) · m / (√v + eps)
           w ← w + p
           γ = pᵀp / (−pᵀg)   and   λ ← β₂ λ + (1−β₂) γ,   unless pᵀg = 0
           if t > 1 and |λ / (1−β₂ᵗ) − γ| < threshold:   SGD from the next step, with Λ = λ / (1−β₂ᵗ), v = 0
    SGD:   v ← β₁ v + g
           w ← w − (1−β₁) Λ v

    γ is the rate at which the SGD step −γg, projected on the direction p, is p itself. The dot products run
    over all weights, so w has to be the whole model as one vector: `whole` tells the loops. In the SGD phase a
    schedule scales Λ by what has become of lr since the switch.

    The paper has one ε = 1e-9 for Adam's denominator (before v's correction) and for the switch. The threshold is
    absolute: 1e-9 is far below the noise of γ on a small problem, where SWATS then stays Adam; a threshold near
    lr can be met at t = 2 already, where the average still is little more than the first γ. Nothing excludes
    a negative Λ.

    lr: Adam's step size > 0, in units of w.   beta1, beta2: in [0, 1).   eps: ≥ 0, in units of g.
    threshold: > 0, in units of w per unit of g.   Shapes: w, g, m, v are (p,), one run's whole weights.
    Raises: ValueError outside these ranges.
    Source: Keskar & Socher 2017, Alg. 1.
    """

    lr: float | Tensor = 1e-3
    beta1: float | Tensor = 0.9
    beta2: float | Tensor = 0.999
    eps: float | Tensor = 1e-9
    threshold: float | Tensor = 1e-9

    whole = True

    def __post_init__(self):
        Adam.__post_init__(self)
        check_positive("threshold", self.threshold)

    def init(self, w):
        """Return moments and rates 0: Adam's phase."""
        return SwatsState(torch.zeros_like(w), torch.zeros_like(w), w.new_zeros(()), w.new_zeros(()))

    def step(self, w, g, s, t):
        """Return (w, state) after step t, which counts from 1. Both phases are computed, one is taken."""
        m = average(s.m, g, self.beta1)
        v = average(s.v, g * g, self.beta2)
        correction1, correction2 = 1 - power(self.beta1, t), 1 - power(self.beta2, t)
        p = -self.lr * correction2**0.5 / correction1 * m / (v.sqrt() + self.eps)
        pg = (p * g).sum()
        gamma = (p * p).sum() / -pg
        rate = torch.where(pg != 0, average(s.rate, gamma, self.beta2), s.rate)
        settled = (t > 1) & ((rate / correction2 - gamma).abs() < self.threshold)  # never if pᵀg = 0: γ is no number

        velocity = self.beta1 * s.v + g
        in_sgd = s.sgd != 0
        new_w = torch.where(in_sgd, w - (1 - self.beta1) * (s.sgd * self.lr) * velocity, w + p)
        return new_w, SwatsState(
            torch.where(in_sgd, s.m, m),
            torch.where(in_sgd, velocity, torch.where(settled, 0, v)),
            torch.where(in_sgd, s.rate, rate).to(w.dtype),
            torch.where(in_sgd, s.sgd, torch.where(settled, rate / correction2 / self.lr, 0)).to(w.dtype),
        )
