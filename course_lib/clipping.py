r"""Gradient clipping: functions from the gradients of a step to smaller ones.

Each is a frozen dataclass that is called on a dict of gradients by parameter name, and returns such a dict:
pure, so that it can be mapped over runs. Chapter: 09_gradient_clipping.
Checked against: torch.nn.utils.clip_grad, 1e-12 in float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.names import check_positive

__all__ = ["ClipNorm", "ClipNormPerTensor", "ClipValue"]


@dataclass(frozen=True)
class ClipValue:
    r"""Every element of every gradient is moved into [−limit, limit].

    g ← min(max(g, −limit), limit)

    Each element is cut by itself, so the gradient's direction changes: (0.9, 100) becomes (0.9, 1).

    limit: > 0, in units of g; a tensor of shape () is one run's value.
    Raises: ValueError if limit is not positive and finite, or a tensor of another shape.
    Source: Mikolov 2012.   Checked against: torch.nn.utils.clip_grad_value_ (Keras: clipvalue).
    """

    limit: float | Tensor = 1.0

    def __post_init__(self):
        _check(self.limit)

    def __call__(self, grads: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the clipped gradients, by name."""
        return {name: g.clamp(-self.limit, self.limit) for name, g in grads.items()}


@dataclass(frozen=True)
class ClipNorm:
    r"""All gradients together are shortened to length `limit` if they are longer.

    g ← g · min(1, limit / (‖g‖₂ + 1e-6)),   ‖g‖₂ over every element of every tensor

    The direction stays. The 1e-6 is PyTorch's, against division by 0: a clipped gradient is shorter than
    limit by that share. Pascanu et al. and Keras (global_clipnorm) have none.

    limit: > 0, in units of g; a tensor of shape () is one run's value.
    Raises: ValueError if limit is not positive and finite, or a tensor of another shape.
    Source: Pascanu et al. 2013.   Checked against: torch.nn.utils.clip_grad_norm_.
    """

    limit: float | Tensor = 1.0

    def __post_init__(self):
        _check(self.limit)

    def __call__(self, grads: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the clipped gradients, by name."""
        if not grads:
            return {}
        lengths = torch.stack([torch.linalg.vector_norm(g) for g in grads.values()])
        factor = _shortening(torch.linalg.vector_norm(lengths), self.limit)
        return {name: g * factor for name, g in grads.items()}


@dataclass(frozen=True)
class ClipNormPerTensor:
    r"""Each gradient tensor by itself is shortened to length `limit` if it is longer.

    g ← g · min(1, limit / (‖g‖₂ + 1e-6)),   ‖g‖₂ over the elements of one tensor

    The direction of each tensor stays, that of all together does not. This is Keras's `clipnorm` (which has no
    1e-6); PyTorch has no name for it.

    limit: > 0, in units of g; a tensor of shape () is one run's value.
    Raises: ValueError if limit is not positive and finite, or a tensor of another shape.
    Checked against: torch.nn.utils.clip_grad_norm_, called on each tensor.
    """

    limit: float | Tensor = 1.0

    def __post_init__(self):
        _check(self.limit)

    def __call__(self, grads: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the clipped gradients, by name."""
        return {name: g * _shortening(torch.linalg.vector_norm(g), self.limit) for name, g in grads.items()}


def _check(limit):
    check_positive("limit", limit)
    if getattr(limit, "ndim", 0):  # it would broadcast over the gradients' own axes without a word
        raise ValueError(
            f"limit must be one number, got a tensor of shape {tuple(limit.shape)}: "
            "for one limit a run give a sweep's grid a clip for each, {'clip': [ClipNorm(0.1), ClipNorm(1.0)]}"
        )


def _shortening(length, limit):
    return (limit / (length + 1e-6)).clamp(max=1.0)
