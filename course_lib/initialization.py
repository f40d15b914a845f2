r"""How weights start: the variance of a layer's weights, set from its number of inputs and outputs.

Each scheme is a frozen dataclass with `sample(shape, generator)`; `get("he_normal")` looks one up by the
name the field uses, and `initialize_(model, scheme, generator)` applies it to a model. Told the activation,
`initialize_` takes the scheme that suits it, and warns of another.
Chapter: 05_gradient_flow, 07_initialization.   Checked against: torch.nn.init, in distribution.
"""

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.names import check_name
from course_lib.rng import check_generator

__all__ = ["SCHEMES", "Constant", "Normal", "VarianceScaling", "fans", "get", "initialize_"]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight: how many inputs reach one output, and the reverse.

    shape: (out, in) of a dense layer, or (out, in, *kernel) of a convolution, where a fan is channels
    times kernel area, not channels alone.
    Raises: ValueError for a shape of fewer than two axes.
    """
    if len(shape) < 2:
        raise ValueError(f"fan_in and fan_out need a weight of shape (out, in, …), got {tuple(shape)}")
    area = math.prod(shape[2:])
    return shape[1] * area, shape[0] * area


@dataclass(frozen=True)
class VarianceScaling:
    r"""Zero-mean weights with Var w = gain / fan.

    gain: > 0; 1 for Xavier and LeCun, 2 for He; the square of PyTorch's.
    fan: "in", "out" or "avg" = (fan_in + fan_out) / 2.
    distribution: "normal", or "uniform" on [−r, r] with r = √(3 Var w).
    Raises: ValueError for a gain that is not positive, or an unknown fan or distribution.
    Source: LeCun et al. 1998; Glorot & Bengio 2010; He et al. 2015.
    """

    gain: float = 1.0
    fan: str = "in"
    distribution: str = "normal"

    def __post_init__(self):
        if not self.gain > 0:
            raise ValueError(f"gain must be > 0, got {self.gain}")
        if self.fan not in ("in", "out", "avg"):
            raise ValueError(f"fan is 'in', 'out' or 'avg', got {self.fan!r}")
        if self.distribution not in ("normal", "uniform"):
            raise ValueError(f"distribution is 'normal' or 'uniform', got {self.distribution!r}")

    def variance(self, shape: tuple[int, ...]) -> float:
        """Return Var w for a weight of this shape."""
        fan_in, fan_out = fans(shape)
        return self.gain / {"in": fan_in, "out": fan_out, "avg": (fan_in + fan_out) / 2}[self.fan]

    def sample(self, shape: tuple[int, ...], generator: torch.Generator, dtype=torch.float32) -> Tensor:
        """Return weights of this shape, on the generator's device."""
        std = math.sqrt(self.variance(shape))
        if self.distribution == "normal":
            return std * torch.randn(shape, generator=generator, dtype=dtype, device=generator.device)
        u = torch.rand(shape, generator=generator, dtype=dtype, device=generator.device)
        return math.sqrt(3) * std * (2 * u - 1)


@dataclass(frozen=True)
class Normal:
    """Zero-mean normal weights with one standard deviation for every layer.   std: ≥ 0."""

    std: float

    def __post_init__(self):
        if not self.std >= 0:
            raise ValueError(f"std must be ≥ 0, got {self.std}")

    def sample(self, shape: tuple[int, ...], generator: torch.Generator, dtype=torch.float32) -> Tensor:
        """Return weights of this shape, on the generator's device."""
        return self.std * torch.randn(shape, generator=generator, dtype=dtype, device=generator.device)


@dataclass(frozen=True)
class Constant:
    """Every weight the same: all units of a layer stay alike for ever (the symmetry problem)."""

    value: float = 0.0

    def sample(self, shape: tuple[int, ...], generator: torch.Generator, dtype=torch.float32) -> Tensor:
        """Return weights of this shape, on the generator's device; nothing is drawn."""
        return torch.full(shape, self.value, dtype=dtype, device=generator.device)


SCHEMES: dict[str, VarianceScaling | Constant] = {
    "xavier_normal": VarianceScaling(1.0, "avg", "normal"),
    "xavier_uniform": VarianceScaling(1.0, "avg", "uniform"),
    "he_normal": VarianceScaling(2.0, "in", "normal"),
    "he_uniform": VarianceScaling(2.0, "in", "uniform"),
    "lecun_normal": VarianceScaling(1.0, "in", "normal"),
    "lecun_uniform": VarianceScaling(1.0, "in", "uniform"),
    "zeros": Constant(0.0),
}


def get(name: str) -> VarianceScaling | Constant:
    """Return the scheme of that name. Raises: ValueError with the nearest name if there is none."""
    check_name("initialisation", name, SCHEMES)
    return SCHEMES[name]


@torch.no_grad()
def initialize_(
    model: nn.Module, scheme=None, generator: torch.Generator | None = None, bias: float = 0.0, *, activation=None
) -> nn.Module:
    """Draw the weights of every dense and convolutional layer anew, set their biases; return the model.

    scheme: a name, or an object with `sample`; None takes the activation's own.   bias: the value of every bias.
    activation: that of the model's layers, from `activations`; its scheme is compared with the one given, the normal
    and the uniform distribution being alike. None compares nothing.
    Layers are visited in the order of `model.modules()`. Normalisation layers are left alone.
    Warns: UserWarning, naming the right scheme, where another is given.
    Raises: ValueError if the model has no such layer, or there is no scheme to take; TypeError if generator is none,
    or activation is no `Activation`.
    """
    check_generator(generator)
    scheme = _scheme_for(scheme, activation)
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)]
    if not layers:
        raise ValueError(f"{type(model).__name__} has no dense or convolutional layer to initialise")
    for layer in layers:
        layer.weight.copy_(scheme.sample(tuple(layer.weight.shape), generator, layer.weight.dtype))
        if layer.bias is not None:
            layer.bias.fill_(bias)
    return model


def _scheme_for(scheme, activation):
    """Return the scheme to draw from: the one given, or the activation's; warn where they are not alike."""
    given = get(scheme) if isinstance(scheme, str) else scheme
    if activation is not None and not hasattr(activation, "scheme"):
        raise TypeError(f"activation must be one of course_lib.activations, got {activation!r}: pass get('relu'), say")
    right = getattr(activation, "scheme", None)
    if given is None and right is None:
        reason = "no activation is given" if activation is None else f"no scheme suits {activation.name}"
        raise ValueError(f"a scheme is needed, as {reason}: pass a name, one of {', '.join(SCHEMES)}")
    if given is None:
        return get(right)
    if right is not None and _rule(given) != _rule(get(right)):
        warnings.warn(
            f"{activation.name} starts well from {right}, got {scheme!r}: pass scheme={right!r}", stacklevel=4
        )
    return given


def _rule(scheme):
    """What makes two schemes alike: the variance, whatever the distribution; a scheme of another kind is itself."""
    return (scheme.gain, scheme.fan) if isinstance(scheme, VarianceScaling) else scheme
