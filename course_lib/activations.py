r"""Activation functions: torch's own, with their derivatives written as formulas.

Each entry of `ACTIVATIONS` holds f and f′ as functions of a tensor of any shape, its range, where f′ is (almost)
zero, and the start that suits it. `get("tanh")` looks one up; an activation goes wherever a callable is wanted.
`leaky_relu(slope)` and `elu(alpha)` make one with another parameter.
Chapter: 03_backpropagation (derivatives), 06_activations.   Checked against: formulas, autograd, 1e-12.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from course_lib.names import check_name, check_positive

__all__ = ["ACTIVATIONS", "SELU_ALPHA", "SELU_SCALE", "Activation", "elu", "get", "leaky_relu"]

# The solution of E f(z) = 0 and E f(z)² = 1 for standard normal z (Klambauer et al. 2017).
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


@dataclass(frozen=True)
class Activation:
    """An activation f, its derivative, and the facts that a reader looks up.

    f, derivative: elementwise, any shape to the same shape, dtype and device kept.
    range: the interval of values, as text.   saturates: where the derivative tends to 0, as text.
    scheme: the name of the initialisation that suits it; None where no start helps, as f′ = 0 everywhere.
    """

    name: str
    f: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]
    range: str
    saturates: str
    scheme: str | None = None

    def __call__(self, z: Tensor) -> Tensor:
        """Return f(z)."""
        return self.f(z)


class _With(NamedTuple):
    """A function of z with its parameter. Unlike a closure it can be pickled, and equals another of the same value."""

    function: Callable[[Tensor, float], Tensor]
    parameter: float

    def __call__(self, z):
        return self.function(z, self.parameter)


def _identity(z):
    return z


def _step(z):
    return (z >= 0).to(z.dtype)


def _sigmoid_derivative(z):
    a = torch.sigmoid(z)
    return a * (1 - a)


def _tanh_derivative(z):
    return 1 - torch.tanh(z) ** 2


def _relu_derivative(z):
    return (z > 0).to(z.dtype)  # 0 at z = 0, as torch has it


def _leaky_derivative(z, slope):
    return torch.where(z > 0, torch.ones_like(z), slope)  # the slope at z = 0, as torch has it


def _elu_derivative(z, alpha):
    return torch.where(z > 0, torch.ones_like(z), alpha * torch.exp(z.clamp(max=0)))  # a large eᶻ would overflow


def _selu_derivative(z):
    return SELU_SCALE * _elu_derivative(z, SELU_ALPHA)


def _normal_cdf(z):
    return torch.erfc(-math.sqrt(0.5) * z) / 2  # 1 + erf, as torch's GELU has it, loses its digits for z ≪ 0


def _gelu(z):
    return z * _normal_cdf(z)


def _gelu_derivative(z):
    return _normal_cdf(z) + z * torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def _silu_derivative(z):
    a = torch.sigmoid(z)
    return a + z * a * (1 - a)


def leaky_relu(slope: float = 0.01) -> Activation:
    """Leaky ReLU: f(z) = z for z > 0, slope · z below.

    slope: in (0, 1).   Raises: ValueError for another slope.
    Source: Maas et al. 2013.
    """
    if not 0 < slope < 1:
        raise ValueError(f"the slope of leaky ReLU must be in (0, 1), got {slope}: 0 is relu, 1 is identity")
    name = "leaky_relu" if slope == 0.01 else f"leaky_relu({slope})"
    f, derivative = _With(functional.leaky_relu, slope), _With(_leaky_derivative, slope)
    return Activation(name, f, derivative, "(−∞, ∞)", "nowhere", "he_normal")


def elu(alpha: float = 1.0) -> Activation:
    """Exponential linear unit: f(z) = z for z > 0, alpha (eᶻ − 1) below. Lecture C leaves out alpha.

    alpha: > 0; only for alpha = 1 has f no kink at 0.   Raises: ValueError for another alpha.
    Source: Clevert et al. 2016.
    """
    check_positive("alpha", alpha)
    name, low = ("elu", "−1") if alpha == 1 else (f"elu({alpha})", f"−{alpha:g}")
    f, derivative = _With(functional.elu, alpha), _With(_elu_derivative, alpha)
    return Activation(name, f, derivative, f"({low}, ∞)", "on the left", "he_normal")


ACTIVATIONS: dict[str, Activation] = {
    a.name: a
    for a in (
        Activation("identity", _identity, torch.ones_like, "(−∞, ∞)", "nowhere", "xavier_normal"),
        Activation("step", _step, torch.zeros_like, "{0, 1}", "everywhere"),
        Activation("sigmoid", torch.sigmoid, _sigmoid_derivative, "(0, 1)", "on both sides", "xavier_normal"),
        Activation("tanh", torch.tanh, _tanh_derivative, "(−1, 1)", "on both sides", "xavier_normal"),
        Activation("relu", torch.relu, _relu_derivative, "[0, ∞)", "for z ≤ 0, exactly", "he_normal"),
        leaky_relu(),
        elu(),
        Activation("selu", torch.selu, _selu_derivative, "(−1.76, ∞)", "on the left", "lecun_normal"),
        Activation("gelu", _gelu, _gelu_derivative, "[−0.17, ∞)", "on the left", "he_normal"),
        Activation("silu", functional.silu, _silu_derivative, "[−0.28, ∞)", "on the left", "he_normal"),
    )
}


def get(name: str) -> Activation:
    """Return the activation of that name. Raises: ValueError with the nearest name if there is none."""
    check_name("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]
