r"""Penalties on the weights, and constraints that are put on them after an update.

A penalty has `loss(params)`, the term that it adds to the loss, and `gradient(params)`, the gradient of that
term, both written as formulas. A constraint is called after an update with the parameters before it, those
after it and the learning rate of the update, and returns the parameters that are kept. All are pure functions
of dicts by parameter name. `which` names the tensors that count: "weights", those of two axes or more, so
neither biases nor the parameters of a normalisation; or "all".
Chapter: 14_weight_penalties.   Checked against: autograd and torch.optim, 1e-12 in float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.names import check_name, check_not_negative, check_positive

__all__ = ["L1", "L2", "MaxNorm", "WeightDecay", "penalised"]

Params = Mapping[str, Tensor]


def penalised(params: Params, which: str = "weights") -> dict[str, Tensor]:
    """Return the parameters that count: those of two axes or more for "weights", or "all"."""
    return {name: w for name, w in params.items() if which == "all" or w.ndim >= 2}


@dataclass(frozen=True)
class L2:
    r"""The L2 penalty (ridge, Tikhonov), with the factor ½ that makes its gradient λw.

    loss = λ/2 ‖w‖₂²          gradient = λ w

    Lectures A, B and E write λ‖w‖² without the ½ (E without the square): their λ is half of this one. The loss
    here is a mean over the batch, so λ does not depend on the batch size; A's is a sum.
    `torch.optim.SGD(weight_decay=λ)` and `Adam(weight_decay=λ)` are this penalty with which="all".

    strength: λ ≥ 0, in units of loss per squared weight.   which: "weights" or "all".
    Raises: ValueError outside these.
    """

    strength: float | Tensor = 1e-4
    which: str = "weights"

    def __post_init__(self):
        check_not_negative("strength", self.strength)
        check_name("choice of which", self.which, ("weights", "all"))

    def loss(self, params: Params) -> Tensor:
        """Return the penalty, shape ()."""
        return self.strength * _total([(w * w).sum() for w in penalised(params, self.which).values()]) / 2

    def gradient(self, params: Params) -> dict[str, Tensor]:
        """Return the gradient of the penalty by name: 0 for a parameter that does not count."""
        counted = penalised(params, self.which)
        return {n: self.strength * w if n in counted else torch.zeros_like(w) for n, w in params.items()}


@dataclass(frozen=True)
class L1:
    r"""The L1 penalty (lasso), whose pull does not weaken as a weight goes to 0.

    loss = λ ‖w‖₁          gradient = λ sign(w), with sign(0) = 0

    Lecture A writes ‖w‖ for ‖w‖₁. A gradient step seldom lands on 0 exactly: count as zero what is below a
    threshold.

    strength: λ ≥ 0, in units of loss per weight.   which: "weights" or "all".
    Raises: ValueError outside these.
    Source: Tibshirani 1996.
    """

    strength: float | Tensor = 1e-4
    which: str = "weights"

    __post_init__ = L2.__post_init__

    def loss(self, params: Params) -> Tensor:
        """Return the penalty, shape ()."""
        return self.strength * _total([w.abs().sum() for w in penalised(params, self.which).values()])

    def gradient(self, params: Params) -> dict[str, Tensor]:
        """Return the gradient of the penalty by name: 0 for a parameter that does not count."""
        counted = penalised(params, self.which)
        return {n: self.strength * w.sign() if n in counted else torch.zeros_like(w) for n, w in params.items()}


@dataclass(frozen=True)
class WeightDecay:
    r"""Decoupled weight decay: after any rule's step, take off a share of the weight as it was before.

    w ← w_after − lr · λ · w_before

    With SGD this is the L2 penalty; with a rule that rescales the gradient it is not. `optimizers.AdamW` is
    Adam with it and which="all". Loshchilov & Hutter decay by ηλ, where η is the schedule's factor; here, as
    in PyTorch, it is lr · λ. Lecture B's w − ∂L/∂w + λw has the wrong sign.

    strength: λ ≥ 0, per unit of lr.   which: "weights" or "all".
    Raises: ValueError outside these.
    Source: Loshchilov & Hutter 2019.   Checked against: torch.optim.AdamW.
    """

    strength: float | Tensor = 1e-2
    which: str = "weights"

    __post_init__ = L2.__post_init__

    def __call__(self, before: Params, after: Params, lr: float | Tensor) -> dict[str, Tensor]:
        """Return the parameters with the decay taken off, by name."""
        decay = {name: lr * self.strength * w for name, w in penalised(before, self.which).items()}
        return {name: w - decay[name] if name in decay else w for name, w in after.items()}


@dataclass(frozen=True)
class MaxNorm:
    r"""The incoming weights of each unit are pulled back to length `limit` if they are longer.

    wⱼ ← wⱼ · min(1, limit / ‖wⱼ‖₂),   wⱼ: row j of a dense weight, the whole filter j of a convolution

    Lecture A multiplies every weight by s ≤ 1 after every update, which is decay: max-norm leaves short rows
    as they are. Biases are no rows and stay.

    limit: c > 0, in units of w (Srivastava et al. use 3 to 4).
    Raises: ValueError if limit is not positive.
    Source: Srivastava et al. 2014, §5.1.
    """

    limit: float | Tensor = 3.0

    def __post_init__(self):
        check_positive("limit", self.limit)

    def __call__(self, before: Params, after: Params, lr: float | Tensor) -> dict[str, Tensor]:
        """Return the parameters with long rows shortened, by name. before and lr do not matter."""
        return {name: self._shortened(w) if w.ndim >= 2 else w for name, w in after.items()}

    def _shortened(self, w):
        length = torch.linalg.vector_norm(w, dim=tuple(range(1, w.ndim)), keepdim=True)
        return w * (self.limit / length).clamp(max=1.0)


def _total(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum() if terms else torch.zeros(())
