"""Activation functions with their derivatives, written as their formulas.

Each entry of `ACTIVATIONS` holds f and f′ as functions of a tensor of any shape, its range, and where f′
is (almost) zero. `get("tanh")` looks one up; `activation.f` goes wherever a callable is wanted.
Chapter: 03_backpropagation (derivatives), 06_activations.   Checked against: torch and autograd.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.names import check_name

__all__ = ["ACTIVATIONS", "Activation", "get"]


@dataclass(frozen=True)
class Activation:
    """An activation f, its derivative, and the facts that a reader looks up.

    f, derivative: elementwise, any shape to the same shape, dtype and device kept.
    range: the interval of values, as text.   saturates: where the derivative tends to 0, as text.
    """

    name: str
    f: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]
    range: str
    saturates: str

    def __call__(self, z: Tensor) -> Tensor:
        """Return f(z)."""
        return self.f(z)


def _sigmoid_derivative(z):
    a = torch.sigmoid(z)
    return a * (1 - a)


def _tanh_derivative(z):
    return 1 - torch.tanh(z) ** 2


def _relu_derivative(z):
    return (z > 0).to(z.dtype)  # 0 at z = 0, as torch has it


def _identity(z):
    return z


ACTIVATIONS: dict[str, Activation] = {
    a.name: a
    for a in (
        Activation("identity", _identity, torch.ones_like, "(−∞, ∞)", "nowhere"),
        Activation("sigmoid", torch.sigmoid, _sigmoid_derivative, "(0, 1)", "on both sides"),
        Activation("tanh", torch.tanh, _tanh_derivative, "(−1, 1)", "on both sides"),
        Activation("relu", torch.relu, _relu_derivative, "[0, ∞)", "for z ≤ 0, exactly"),
    )
}


def get(name: str) -> Activation:
    """Return the activation of that name. Raises: ValueError with the nearest name if there is none."""
    check_name("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]
