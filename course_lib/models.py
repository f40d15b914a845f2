"""Small networks with every size in sight: dense, convolutional, residual.

All take a torch generator, so that the same seed gives the same weights without touching the global one.
Weights start as torch's own layers start them; `initialization.initialize_` draws them anew.
Chapter: 02_networks_and_losses, 05_gradient_flow and 07_initialization (residual), 21_convolutional_networks.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from course_lib.dropout import Dropout
from course_lib.names import check_name
from course_lib.rng import fork_global

__all__ = ["MLP", "ConvNet", "ResidualMLP", "build", "count_parameters", "mlp_parameter_count"]


class MLP(nn.Module):
    """Multilayer perceptron: aˡ = f(Wˡ aˡ⁻¹ + bˡ), and no activation after the last layer.

    sizes: units per layer, input first, (64, 32, 10).   activation: callable on tensors.
    norm: from a number of units to the normalisation of so many, such as `torch.nn.BatchNorm1d`,
    `normalization.BatchNorm` or `lambda n: GroupNorm(n, 4)`: before each activation, or behind it if norm_after.
    dropout: probability in [0, 1) after each activation and what is behind it, or None for no such layer.
    Shapes: (N, …) flattened to (N, sizes[0]) → (N, sizes[-1]).
    Raises: ValueError for fewer than two sizes, a size below 1, a dropout outside [0, 1), or norm_after
    without norm; TypeError for an activation or a norm of another kind.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Callable[[Tensor], Tensor] = torch.relu,
        *,
        generator: torch.Generator,
        norm: Callable[[int], nn.Module] | None = None,
        norm_after: bool = False,
        dropout: float | None = None,
    ):
        super().__init__()
        _check_activation(activation)
        _check_sizes(sizes)
        with fork_global(generator):
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
            self.norms = _norms(norm, sizes[1:-1], norm_after)
        self.dropout = None if dropout is None else Dropout(dropout)
        self.activation, self.norm_after = activation, norm_after

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of the last layer (logits, for a classifier)."""
        a = x.flatten(1)
        for i, layer in enumerate(self.layers[:-1]):
            a = _activated(self, i, layer(a))
            if self.dropout is not None:
                a = self.dropout(a)
        return self.layers[-1](a)

    def extra_repr(self) -> str:
        """Return what the layers do not say, for `print(model)` and checkpoints."""
        return f"activation={_name(self.activation)}" + ", norm_after=True" * self.norm_after


class ConvNet(nn.Module):
    """Convolutional network: strided convolutions with an activation each, then one dense layer.

    in_shape: (channels, length) or (channels, height, width).   channels: output channels per layer.
    kernel: size ≥ 1, one for all layers or one each.   stride: of every layer, ≥ 1; padding is 1.
    norm, norm_after: as of `MLP`, from a number of channels to a layer that takes (N, C, *space).
    ConvNet((1, 40), (25, 25, 25), 10, kernel=(5, 3, 3)) is the network of Greydanus 2020 for MNIST-1D.
    Shapes: (N, …) with as many elements as in_shape → (N, n_classes).
    Raises: ValueError where in_shape is neither 1-D nor 2-D with channels or shrinks to nothing, a size is
    below 1, there is not one kernel for each layer, or norm_after is set without norm.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        channels: Sequence[int],
        n_classes: int,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        *,
        generator: torch.Generator,
        kernel: int | Sequence[int] = 3,
        stride: int = 2,
        norm: Callable[[int], nn.Module] | None = None,
        norm_after: bool = False,
    ):
        super().__init__()
        _check_activation(activation)
        if len(in_shape) not in (2, 3):
            raise ValueError(f"in_shape is (channels, length) or (channels, height, width), got {tuple(in_shape)}")
        kernels = [kernel] * len(channels) if isinstance(kernel, int) else list(kernel)
        if len(kernels) != len(channels):
            raise ValueError(f"kernel is one size, or one for each of the {len(channels)} layers, got {kernel}")
        _check_sizes((*in_shape, *channels, n_classes, *kernels, stride))
        conv = nn.Conv1d if len(in_shape) == 2 else nn.Conv2d
        size, n_in, layers = list(in_shape[1:]), in_shape[0], []
        with fork_global(generator):
            for n_out, k in zip(channels, kernels, strict=True):
                layers.append(conv(n_in, n_out, k, stride=stride, padding=1))
                size, n_in = [(s + 2 - k) // stride + 1 for s in size], n_out
                if min(size) < 1:
                    raise ValueError(
                        f"in_shape {tuple(in_shape)} shrinks to nothing after {len(layers)} layers: "
                        "use fewer layers or a smaller stride"
                    )
            self.head = nn.Linear(n_in * math.prod(size), n_classes)
            self.norms = _norms(norm, channels, norm_after)
        self.layers = nn.ModuleList(layers)
        self.activation, self.in_shape, self.norm_after = activation, tuple(in_shape), norm_after

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        a = x.reshape(len(x), *self.in_shape)
        for i, layer in enumerate(self.layers):
            a = _activated(self, i, layer(a))
        return self.head(a.flatten(1))

    def extra_repr(self) -> str:
        """Return what the layers do not say, for `print(model)` and checkpoints."""
        after = ", norm_after=True" * self.norm_after
        return f"in_shape={self.in_shape}, activation={_name(self.activation)}{after}"


class ResidualMLP(nn.Module):
    """Deep dense network of equal layers, with or without skip connections.

    skip="none":   h ← f(W h + b)
    skip="add":    h ← h + f(W h + b)            (He et al. 2016)
    skip="concat": h ← [h, f(W h + b)], where each layer adds `growth` features (Huang et al. 2017)
    skip="block":  h ← h + V f(W h + b) + c, a branch of two layers, V and c in `seconds`

    n_in, width, n_out: units.   depth: hidden layers between the first and the last layer, ≥ 0.
    Shapes: (N, …) flattened to (N, n_in) → (N, n_out).
    Raises: ValueError for an unknown skip, a size below 1, or a negative depth.
    """

    def __init__(
        self,
        n_in: int,
        width: int,
        depth: int,
        n_out: int,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        *,
        generator: torch.Generator,
        skip: str = "add",
        growth: int = 4,
    ):
        super().__init__()
        _check_activation(activation)
        if skip not in ("none", "add", "concat", "block"):
            raise ValueError(f"skip is 'none', 'add', 'concat' or 'block', got {skip!r}")
        _check_sizes((n_in, width, n_out, growth))
        if depth < 0:
            raise ValueError(f"depth is a number of hidden layers ≥ 0, got {depth}")
        step = growth if skip == "concat" else 0
        with fork_global(generator):
            self.first = nn.Linear(n_in, width)
            self.layers = nn.ModuleList(nn.Linear(width + i * step, step or width) for i in range(depth))
            self.last = nn.Linear(width + depth * step, n_out)
            if skip == "block":
                self.seconds = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.activation, self.skip = activation, skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of the last layer."""
        h = self.activation(self.first(x.flatten(1)))
        for i, layer in enumerate(self.layers):
            f = self.activation(layer(h))
            if self.skip == "block":
                f = self.seconds[i](f)
            h = f if self.skip == "none" else torch.cat((h, f), 1) if self.skip == "concat" else h + f
        return self.last(h)

    def extra_repr(self) -> str:
        """Return what the layers do not say, for `print(model)` and checkpoints."""
        return f"skip={self.skip}, activation={_name(self.activation)}"


def count_parameters(model: nn.Module, trainable_only: bool = True) -> int:
    """Return the number of parameters: weights and biases, each counted once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)


def mlp_parameter_count(sizes: Sequence[int]) -> int:
    """Return Σₗ (nₗ₋₁ + 1) nₗ: a weight per pair of units, and a bias per unit.

    sizes: units per layer, input first.   Raises: ValueError for fewer than two sizes or a size below 1.
    """
    _check_sizes(sizes)
    return sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))


def _check_activation(activation: Callable) -> None:
    if not callable(activation) or isinstance(activation, type):
        raise TypeError(f"activation must be a function of a tensor such as torch.tanh, got {activation!r}")


def _norms(norm, sizes, after):
    if norm is None:
        if after:
            raise ValueError("norm_after=True says where the normalisation goes, but norm is None: give both, or none")
        return None
    layers = None if isinstance(norm, nn.Module) or not callable(norm) else [norm(n) for n in sizes]
    if layers is None or not all(isinstance(layer, nn.Module) for layer in layers):
        raise TypeError(
            "norm must be a function from a number of units to a layer, such as torch.nn.BatchNorm1d itself, "
            f"got {norm!r}"
        )
    return nn.ModuleList(layers)


def _activated(model, i, z):
    """Return f(z) of layer i, with its normalisation before or behind f where there is one."""
    if model.norms is None:
        return model.activation(z)
    norm = model.norms[i]
    return norm(model.activation(z)) if model.norm_after else model.activation(norm(z))


def _check_sizes(sizes: Sequence[int]) -> None:
    if len(sizes) < 2 or any(n < 1 for n in sizes):
        raise ValueError(f"a network needs at least an input and an output size, each ≥ 1, got {tuple(sizes)}")


def _name(activation: Callable) -> str:
    return getattr(activation, "name", None) or getattr(activation, "__name__", type(activation).__name__)


_MODELS: dict[str, type[nn.Module]] = {"mlp": MLP, "convnet": ConvNet, "residual_mlp": ResidualMLP}


def build(name: str, *args, **options) -> nn.Module:
    """Return the model of that name, for code that takes the architecture as a setting.

    name: "mlp", "convnet" or "residual_mlp"; the other arguments are its class's.
    Raises: ValueError with the nearest name if there is none.
    """
    check_name("model", name, _MODELS)
    return _MODELS[name](*args, **options)
