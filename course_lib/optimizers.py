r"""Update rules as pure functions, each written as its equation.

A rule is a frozen dataclass of hyperparameters with
    init(w) -> state                     and
    step(w, g, state, t) -> (w, state)
which never change their arguments. `training.fit` uses rules as they are; `TorchOptimizer(params, rule)`
makes any of them a `torch.optim.Optimizer`.
Chapter: 11_optimizers.   Checked against: torch.optim, 1e-12 in float64 over 200 steps.
"""

import copy
import math
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["SGD", "Adam", "Moments", "Momentum", "Rule", "TorchOptimizer", "Velocity", "with_lr"]


class Rule(Protocol):
    """What every update rule offers. lr: the step size, a float or a tensor of one run's value."""

    lr: float | Tensor

    def init(self, w: Tensor) -> NamedTuple:
        """Return the state before the first step, for a weight of this shape."""

    def step(self, w: Tensor, g: Tensor, state: Any, t: int) -> tuple[Tensor, Any]:
        """Return the weight after step t (from 1) along gradient g, and the new state."""


class Nothing(NamedTuple):
    """The state of a rule that remembers nothing."""


class Velocity(NamedTuple):
    """The state of momentum: v, shaped as the weight."""

    v: Tensor


class Moments(NamedTuple):
    """The state of Adam: the running means of g and of g², shaped as the weight."""

    m: Tensor
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
        _positive("lr", self.lr)

    def init(self, w):
        """Return the empty state."""
        return Nothing()

    def step(self, w, g, s, t):
        """Return (w, state) after step t, which counts from 1."""
        return w - self.lr * g, s


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
        _positive("lr", self.lr)
        _fraction("momentum", self.momentum)

    def init(self, w):
        """Return the velocity 0."""
        return Velocity(torch.zeros_like(w))

    def step(self, w, g, s, t):
        """Return (w, state) after step t, which counts from 1."""
        v = self.momentum * s.v + g
        return w - self.lr * v, Velocity(v)


@dataclass(frozen=True)
class Adam:
    r"""Adam: the mean gradient over its running root mean square.

    m ← β₁ m + (1−β₁) g          v ← β₂ v + (1−β₂) g²
    m̂ = m / (1−β₁ᵗ)              v̂ = v / (1−β₂ᵗ)
    w ← w − lr · m̂ / (√v̂ + eps)

    lr: step size > 0, in units of w.   beta1, beta2: in [0, 1).
    eps: ≥ 0, outside the root, in units of g.   Shapes: w, g, m, v are (*p,) or (R, *p).
    Raises: ValueError outside these ranges.
    Source: Kingma & Ba 2015, Alg. 1.   Checked against: torch.optim.Adam.
    """

    lr: float | Tensor = 1e-3
    beta1: float | Tensor = 0.9
    beta2: float | Tensor = 0.999
    eps: float = 1e-8

    def __post_init__(self):
        _positive("lr", self.lr)
        _fraction("beta1", self.beta1)
        _fraction("beta2", self.beta2)
        if not self.eps >= 0:
            raise ValueError(f"eps must be ≥ 0, got {self.eps}")

    def init(self, w):
        """Return both moments 0."""
        return Moments(torch.zeros_like(w), torch.zeros_like(w))

    def step(self, w, g, s, t):
        """Return (w, state) after step t, which counts from 1."""
        m = self.beta1 * s.m + (1 - self.beta1) * g
        v = self.beta2 * s.v + (1 - self.beta2) * g**2
        m_hat = m / (1 - self.beta1**t)
        v_hat = v / (1 - self.beta2**t)
        return w - self.lr * m_hat / (v_hat.sqrt() + self.eps), Moments(m, v)


def with_lr(rule: Rule, lr: float | Tensor) -> Rule:
    """Return the rule with another learning rate, unchecked: the loop calls it at every step."""
    changed = copy.copy(rule)
    object.__setattr__(changed, "lr", lr)
    return changed


class TorchOptimizer(torch.optim.Optimizer):
    """Any rule as a `torch.optim.Optimizer`: parameter groups, schedulers, state_dict and all.

    params: parameters or groups, as for every torch optimiser.   rule: an update rule of this module.
    Each hyperparameter of the rule is a key of the groups, so a group may set its own and a
    `torch.optim.lr_scheduler` may change `lr`.
    Raises: TypeError if rule has no `init` and `step`; ValueError if a group's value is out of range.
    """

    def __init__(self, params, rule: Rule):
        if not (hasattr(rule, "init") and hasattr(rule, "step")):
            raise TypeError(f"rule must have init(w) and step(w, g, state, t), got {rule!r}")
        self._first = rule
        self._state = type(rule.init(torch.empty(0)))
        super().__init__(params, {f.name: getattr(rule, f.name) for f in fields(rule)})
        for group in self.param_groups:
            replace(rule, **self._options(group))  # a value out of range fails here, not in the first step

    def _options(self, group) -> dict:
        return {f.name: group[f.name] for f in fields(self._first)}

    def __getstate__(self):
        """Keep the rule where torch's own copies and pickles keep groups and state alone."""
        return super().__getstate__() | {"_first": self._first, "_state": self._state}

    @torch.no_grad()
    def step(self, closure=None):
        """Take one step with each parameter's gradient; those without a gradient stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rule = copy.copy(self._first)
            vars(rule).update(self._options(group))  # unchecked: a scheduler may end at lr = 0
            for p in group["params"]:
                if p.grad is None:
                    continue
                saved = self.state[p]
                if not saved:
                    saved.update(t=0, **rule.init(p)._asdict())
                t = saved["t"] + 1
                w, state = rule.step(p, p.grad, self._state(*(saved[k] for k in self._state._fields)), t)
                p.copy_(w)
                saved.update(t=t, **state._asdict())
        return loss


def _positive(name: str, value: float | Tensor) -> None:
    if not bool(torch.as_tensor((value > 0) & (value < math.inf)).all()):
        raise ValueError(f"{name} must be > 0 and finite, got {value}")


def _fraction(name: str, value: float | Tensor) -> None:
    if not bool(torch.as_tensor((value >= 0) & (value < 1) if isinstance(value, Tensor) else 0 <= value < 1).all()):
        raise ValueError(f"{name} must be in [0, 1), got {value}")
