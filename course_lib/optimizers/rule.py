"""What an update rule is, and the two lines that most of them share."""

import copy
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["Rule", "average", "corrected", "plus", "power", "with_lr", "with_values"]


class Rule(Protocol):
    """What every update rule offers. lr: the step size, a float or a tensor of one run's value.

    A rule whose step is not elementwise says so with a class attribute `whole = True`: it has to be given all
    weights as one vector. Without it, a rule may be given them tensor by tensor. `numbers` names what of the state,
    of shape (), its step takes as a number too, whose arithmetic is sooner done.
    """

    lr: float | Tensor

    def init(self, w: Tensor) -> NamedTuple:
        """Return the state before the first step: tensors shaped as the weight, or of shape ()."""

    def step(self, w: Tensor, g: Tensor, state: Any, t: int | Tensor) -> tuple[Tensor, Any]:
        """Return the weight after step t along gradient g, and the new state. t counts from 1.

        A rule may take one more argument, `out`: as torch's, a tensor to write the weight to, w itself too.
        """


def average(old: Tensor, new: Tensor, beta: float | Tensor) -> Tensor:
    """Return β · old + (1−β) · new, the running average of most rules (in one operation for a number β)."""
    if isinstance(beta, Tensor):
        return beta * old + (1 - beta) * new
    return torch.lerp(new, old, beta)


def plus(a: Tensor, factor: float | Tensor, b: Tensor, over: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """Return a + factor · b, or a + factor · b / over (in one operation for a number); out: where to write it."""
    if not isinstance(factor, Tensor):
        if over is None:
            return a.add_(b, alpha=factor) if out is a else torch.add(a, b, alpha=factor, out=out)
        return torch.addcdiv(a, b, over, value=factor, out=out)
    result = a + factor * (b if over is None else b / over)
    return result if out is None else out.copy_(result)


def corrected(factor: float | Tensor, b: Tensor, by: float | Tensor) -> tuple[float | Tensor, Tensor]:
    """Return factor and b / by; of numbers factor / by and b, which are the same product an operation sooner."""
    if isinstance(factor, Tensor) or isinstance(by, Tensor):
        return factor, b / by
    return factor / by, b


def power(beta: float | Tensor, t: int | Tensor) -> float | Tensor:
    """Return βᵗ in float64. A step number that is a tensor would make it float32, and 1 − βᵗ off by 1e-5."""
    return beta ** (t.double() if isinstance(t, Tensor) else t)


def with_values(rule: Rule, **values: float | Tensor) -> Rule:
    """Return the rule with other hyperparameters, unchecked: under `vmap` a tensor can't be looked at."""
    changed = copy.copy(rule)
    for name, value in values.items():
        object.__setattr__(changed, name, value)
    return changed


def with_lr(rule: Rule, lr: float | Tensor) -> Rule:
    """Return the rule with another learning rate, unchecked: the loop calls it at every step."""
    return with_values(rule, lr=lr)
