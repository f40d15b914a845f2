r"""Subtract a mean, divide by a standard deviation: over any axes, and forward and backward for a batch.

Chapter: 08_normalization.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from course_lib.names import check_not_negative

__all__ = ["BatchNormCache", "batch_norm", "batch_norm_backward", "standardize"]


def standardize(x: Tensor, axes: int | Sequence[int], eps: float = 1e-5) -> Tensor:
    r"""Return x with mean 0 and variance 1 over these axes.

    μ = mean x,   σ² = mean (x − μ)²,   x̂ = (x − μ) / √(σ² + eps)

    The variance is the biased one, divided by the number of values. It comes out as σ² / (σ² + eps), so a little
    below 1, and as 0 where all values are equal.
    x: any shape.   axes: those that one mean is taken over.   eps: ≥ 0, in units of x².
    Raises: ValueError if each mean is over one value alone, or eps is negative.
    Checked against: torch.nn's normalisation layers.
    """
    check_not_negative("eps", eps)
    axes = (axes,) if isinstance(axes, int) else tuple(axes)
    if math.prod(x.shape[a] for a in axes) == 1:
        raise ValueError(
            f"each mean must be over 2 values or more, got one value each: shape {tuple(x.shape)} over axes {axes}. "
            "Every output would be 0: take more axes, or larger groups"
        )
    centred = x - x.mean(axes, keepdim=True)
    return centred / ((centred**2).mean(axes, keepdim=True) + eps).sqrt()


class BatchNormCache(NamedTuple):
    """What the backward pass needs from the forward pass. All but eps broadcast against x."""

    centred: Tensor
    var: Tensor
    x_hat: Tensor
    gamma: Tensor
    eps: float


def batch_norm(x: Tensor, gamma: Tensor, beta: Tensor, eps: float = 1e-5) -> tuple[Tensor, BatchNormCache]:
    r"""Return (y, cache) of batch normalisation in training, for each channel by itself.

    μ = 1/m Σ x,   σ² = 1/m Σ (x − μ)²,   x̂ = (x − μ) / √(σ² + eps),   y = γ x̂ + β

    The sums run over the batch, and for a convolution over its places too: m = N · space.
    x: (N, C) or (N, C, *space).   gamma, beta: (C,).   eps: ≥ 0, in units of x².
    Raises: ValueError for other shapes, a negative eps, or m = 1, where every output would be β.
    Source: Ioffe & Szegedy 2015, Alg. 1.   Checked against: torch.nn.functional.batch_norm.
    """
    check_not_negative("eps", eps)
    for t in (gamma, beta):
        check_input(x, len(t), "batch_norm")
    m, axes = check_batch(x), batch_axes(x)
    gamma, beta = along_channels(gamma, x), along_channels(beta, x)
    mean = x.sum(axes, keepdim=True) / m
    centred = x - mean
    var = (centred**2).sum(axes, keepdim=True) / m
    x_hat = centred / (var + eps).sqrt()
    return gamma * x_hat + beta, BatchNormCache(centred, var, x_hat, gamma, eps)


def batch_norm_backward(dy: Tensor, cache: BatchNormCache) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return (dx, dgamma, dbeta) from dy = ∂L/∂y, by the chain rule through every equation of the forward pass.

    ∂L/∂x̂  = ∂L/∂y · γ
    ∂L/∂σ² = Σ ∂L/∂x̂ · (x − μ) · (−½)(σ² + eps)^(−3/2)
    ∂L/∂μ  = Σ ∂L/∂x̂ · (−1)/√(σ² + eps)  +  ∂L/∂σ² · 1/m Σ −2(x − μ)
    ∂L/∂x  = ∂L/∂x̂ · 1/√(σ² + eps)  +  ∂L/∂σ² · 2(x − μ)/m  +  ∂L/∂μ · 1/m
    ∂L/∂γ  = Σ ∂L/∂y · x̂
    ∂L/∂β  = Σ ∂L/∂y

    The paper's last sum in ∂L/∂μ is always 0, as deviations from a mean add up to 0.
    dy: the shape of y.   cache: from `batch_norm`.   dgamma, dbeta: (C,).
    Raises: ValueError if dy has another shape.
    Source: Ioffe & Szegedy 2015, §3.   Checked against: autograd.
    """
    centred, var, x_hat, gamma, eps = cache
    if dy.shape != x_hat.shape:
        raise ValueError(f"dy must have the shape of y, {tuple(x_hat.shape)}, got {tuple(dy.shape)}")
    axes = batch_axes(dy)
    m = math.prod(dy.shape[a] for a in axes)
    std = (var + eps).sqrt()
    dx_hat = dy * gamma
    dvar = (dx_hat * centred).sum(axes, keepdim=True) * -0.5 * std**-3
    dmean = -dx_hat.sum(axes, keepdim=True) / std + dvar * (-2 * centred).sum(axes, keepdim=True) / m
    dx = dx_hat / std + dvar * 2 * centred / m + dmean / m
    return dx, (dy * x_hat).sum(axes), dy.sum(axes)


def check_input(x: Tensor, n: int, name: str) -> None:
    """Raise ValueError unless x is (N, n) or (N, n, *space)."""
    if x.ndim < 2 or x.shape[1] != n:
        raise ValueError(
            f"{name} over {n} channels takes (N, {n}) or (N, {n}, *space), got shape {tuple(x.shape)}: "
            "make it for as many channels as the layer before it has, and keep them on axis 1"
        )


def check_batch(x: Tensor) -> int:
    """Return the number of values per channel. Raises: ValueError if it is 1 (or 0)."""
    m = math.prod(x.shape[a] for a in batch_axes(x))
    if m < 2:
        raise ValueError(
            f"batch normalisation in training needs more than 1 value per channel, got {m}: shape {tuple(x.shape)}. "
            "Use batches of 2 samples or more, the last one too, or call eval() for single samples"
        )
    return m


def batch_axes(x: Tensor) -> tuple[int, ...]:
    """Return every axis of (N, C, *space) but that of the channels."""
    return (0, *range(2, x.ndim))


def along_channels(t: Tensor, x: Tensor) -> Tensor:
    """Return a tensor of one number per channel, (C,), in the shape that broadcasts against x."""
    return t.view(-1, *[1] * (x.ndim - 2))
