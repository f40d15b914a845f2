r"""Adam and its relatives: the mean gradient over a measure of its size, both corrected for their start at 0.

Chapter: 11_optimizers.   Checked against: torch.optim, 1e-12 in float64 over 200 steps.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.names import check_fraction, check_not_negative, check_positive
from course_lib.optimizers.rule import average, corrected, plus, power

__all__ = ["AMSGrad", "AdaMax", "Adam", "AdamW", "LargestMoments", "Moments", "Nadam", "NadamMoments"]


class Moments(NamedTuple):
    """The state of Adam: the running means of g and of g² (in AdaMax the norm u), shaped as the weight."""

    m: Tensor
    v: Tensor


class LargestMoments(NamedTuple):
    """The state of AMSGrad: Adam's, and the largest v so far, shaped as the weight."""

    m: Tensor
    v: Tensor
    largest: Tensor


class NadamMoments(NamedTuple):
    """The state of Nadam: Adam's, and the product of all μ so far, shape ()."""

    m: Tensor
    v: Tensor
    product: Tensor


@dataclass(frozen=True)
class Adam:
    r"""Adam: the mean gradient over its running root mean square.

    m ← β₁ m + (1−β₁) g          v ← β₂ v + (1−β₂) g²
    m̂ = m / (1−β₁ᵗ)              v̂ = v / (1−β₂ᵗ)
    w ← w − lr · m̂ / (√v̂ + eps)

    Lecture A multiplies by √(v̂ + eps) where it has to divide, and puts eps inside the root; lecture E leaves
    the power t out of the corrections. Keras has eps = 1e-7.

    lr: step size > 0, in units of w.   beta1, beta2: in [0, 1).
    eps: ≥ 0, outside the root, in units of g.   Shapes: w, g, m, v are (*p,) or (R, *p).
    Raises: ValueError outside these ranges.
    Source: Kingma & Ba 2015, Alg. 1.   Checked against: torch.optim.Adam.
    """

    lr: float | Tensor = 1e-3
    beta1: float | Tensor = 0.9
    beta2: float | Tensor = 0.999
    eps: float | Tensor = 1e-8

    def __post_init__(self):
        check_positive("lr", self.lr)
        check_fraction("beta1", self.beta1)
        check_fraction("beta2", self.beta2)
        check_not_negative("eps", self.eps)

    def init(self, w):
        """Return both moments 0."""
        return Moments(torch.zeros_like(w), torch.zeros_like(w))

    def step(self, w, g, s, t, out=None):
        """Return (w, state) after step t, which counts from 1."""
        m = average(s.m, g, self.beta1)
        v = average(s.v, g * g, self.beta2)
        factor, m_hat = corrected(-self.lr, m, by=1 - power(self.beta1, t))
        v_hat = v / (1 - power(self.beta2, t))
        return plus(w, factor, m_hat, over=v_hat.sqrt() + self.eps, out=out), Moments(m, v)


@dataclass(frozen=True)
class AdamW(Adam):
    r"""Adam with decoupled weight decay: the weights shrink beside the step, not through the gradient.

    w ← w − lr · weight_decay · w − lr · m̂ / (√v̂ + eps),   m̂ and v̂ as in Adam

    An L2 penalty λ/2 ‖w‖² adds λw to g, where Adam divides it by √v̂ like the rest: weights with large
    gradients are decayed less. `torch.optim.Adam(weight_decay=…)` is that penalty. Loshchilov & Hutter decay by
    a schedule's factor times λ, without lr; PyTorch multiplies by lr, as here.
    Every weight decays, biases too: for weights only, use Adam with `regularization.WeightDecay`.

    weight_decay: ≥ 0, per unit of lr.   lr, beta1, beta2, eps, shapes: as in Adam.
    Raises: ValueError outside these ranges.
    Source: Loshchilov & Hutter 2019, Alg. 2.   Chapter: 14_weight_penalties.   Checked against: torch.optim.AdamW.
    """

    weight_decay: float | Tensor = 1e-2

    def __post_init__(self):
        super().__post_init__()
        check_not_negative("weight_decay", self.weight_decay)

    def step(self, w, g, s, t, out=None):
        """Return (w, state) after step t, which counts from 1."""
        moved, s = super().step(w, g, s, t)
        return plus(moved, -self.lr * self.weight_decay, w, out=out), s


@dataclass(frozen=True)
class AdaMax:
    r"""AdaMax: Adam with the largest recent |g| in place of the root mean square.

    m ← β₁ m + (1−β₁) g
    u ← max(β₂ u, |g| + eps)
    w ← w − lr / (1−β₁ᵗ) · m / u

    There is no root, and u needs no correction: a maximum is not biased by its start at 0. Lecture A leaves
    out the absolute value. The paper has no eps; PyTorch puts it inside the maximum, against 0/0.

    lr: step size > 0, in units of w.   beta1, beta2: in [0, 1).   eps: ≥ 0, in units of g.
    Shapes: w, g, m, u are (*p,) or (R, *p); the state's v is u.
    Raises: ValueError outside these ranges.
    Source: Kingma & Ba 2015, Alg. 2.   Checked against: torch.optim.Adamax.
    """

    lr: float | Tensor = 2e-3
    beta1: float | Tensor = 0.9
    beta2: float | Tensor = 0.999
    eps: float | Tensor = 1e-8

    __post_init__ = Adam.__post_init__
    init = Adam.init

    def step(self, w, g, s, t, out=None):
        """Return (w, state) after step t, which counts from 1."""
        m = average(s.m, g, self.beta1)
        u = torch.maximum(self.beta2 * s.v, g.abs() + self.eps)
        return plus(w, -self.lr / (1 - power(self.beta1, t)), m, over=u, out=out), Moments(m, u)


@dataclass(frozen=True)
class Nadam:
    r"""Nadam: Adam with Nesterov's look-ahead, and a momentum that warms up.

    μₜ = β₁ (1 − ½ · 0.96^(t·momentum_decay))
    m ← β₁ m + (1−β₁) g          v ← β₂ v + (1−β₂) g²
    m̂ = μₜ₊₁ m / (1 − μ₁⋯μₜ₊₁) + (1−μₜ) g / (1 − μ₁⋯μₜ)          v̂ = v / (1−β₂ᵗ)
    w ← w − lr · m̂ / (√v̂ + eps)

    This is Dozat's rule as PyTorch has it: momentum_decay = 1/250, and μ rises from about β₁/2 to β₁. Dozat
    takes β₁ = 0.99. Keeping μ = β₁ gives the shorter form β₁ m̂ + (1−β₁) g / (1−β₁ᵗ) that textbooks print;
    a large momentum_decay is that form, and 0 is μ = β₁/2 for ever. The gradient is taken at w: lecture A's
    ∇J(θ + β₁m) is not Nadam.

    lr: step size > 0, in units of w.   beta1, beta2: in [0, 1).   eps: ≥ 0, outside the root.
    momentum_decay: ≥ 0, per step.   Shapes: w, g, m, v are (*p,) or (R, *p).
    Raises: ValueError outside these ranges.
    Source: Dozat 2016.   Checked against: torch.optim.NAdam.
    """

    lr: float | Tensor = 2e-3
    beta1: float | Tensor = 0.9
    beta2: float | Tensor = 0.999
    eps: float | Tensor = 1e-8
    momentum_decay: float | Tensor = 4e-3

    numbers = ("product",)

    def __post_init__(self):
        Adam.__post_init__(self)
        check_not_negative("momentum_decay", self.momentum_decay)

    def init(self, w):
        """Return both moments 0, and the product of no factors, 1."""
        return NadamMoments(torch.zeros_like(w), torch.zeros_like(w), w.new_ones(()))

    def mu(self, t):
        """Return the momentum μₜ."""
        return self.beta1 * (1 - 0.5 * power(0.96, t * self.momentum_decay))

    def step(self, w, g, s, t, out=None):
        """Return (w, state) after step t, which counts from 1."""
        mu, mu_next = self.mu(t), self.mu(t + 1)
        product = s.product * mu
        product = product.to(w.dtype) if isinstance(product, Tensor) else product
        m = average(s.m, g, self.beta1)
        v = average(s.v, g * g, self.beta2)
        of_m, of_g = mu_next / (1 - product * mu_next), (1 - mu) / (1 - product)
        m_hat = plus(g, of_m / of_g, m)  # over of_g, which is > 0; the rate gets it back
        v_hat = v / (1 - power(self.beta2, t))
        w = plus(w, -self.lr * of_g, m_hat, over=v_hat.sqrt() + self.eps, out=out)
        return w, NadamMoments(m, v, product)


@dataclass(frozen=True)
class AMSGrad(Adam):
    r"""AMSGrad: Adam that never forgets its largest v, so that no weight's rate can grow again.

    m ← β₁ m + (1−β₁) g          v ← β₂ v + (1−β₂) g²          largest ← max(largest, v)
    m̂ = m / (1−β₁ᵗ)              v̂ = largest / (1−β₂ᵗ)
    w ← w − lr · m̂ / (√v̂ + eps)

    PyTorch corrects after the maximum, as here; optax corrects v before it. The paper corrects neither and has
    no eps: that is bias_correction=False with eps=0, where m̂ = m and v̂ = largest. Its counter-example, on
    which Adam goes to the wrong end, is stated for that form.

    bias_correction: True or False.   lr, beta1, beta2, eps: as in Adam.
    Shapes: w, g, m, v, largest are (*p,) or (R, *p).
    Raises: ValueError outside these ranges.
    Source: Reddi et al. 2018, Alg. 2.   Checked against: torch.optim.Adam(amsgrad=True).
    """

    bias_correction: bool = True

    def init(self, w):
        """Return the moments and the largest second moment, all 0."""
        return LargestMoments(torch.zeros_like(w), torch.zeros_like(w), torch.zeros_like(w))

    def step(self, w, g, s, t, out=None):
        """Return (w, state) after step t, which counts from 1."""
        m = average(s.m, g, self.beta1)
        v = average(s.v, g * g, self.beta2)
        largest = torch.maximum(s.largest, v)
        factor, m_hat, v_hat = -self.lr, m, largest
        if self.bias_correction:
            factor, m_hat = corrected(factor, m, by=1 - power(self.beta1, t))
            v_hat = largest / (1 - power(self.beta2, t))
        return plus(w, factor, m_hat, over=v_hat.sqrt() + self.eps, out=out), LargestMoments(m, v, largest)
