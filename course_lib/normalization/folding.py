r"""One layer for two: an evaluated batch normalisation goes into the weights of the layer before it.

Chapter: 08_normalization.
"""

import copy

import torch
from torch import nn

from course_lib.normalization.layers import BatchNorm, BatchRenorm

__all__ = ["fold"]

_TORCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@torch.no_grad()
def fold(layer: nn.Module, norm: nn.Module) -> nn.Module:
    r"""Return one layer that does what `layer` and then `norm` do in evaluation; both stay as they are.

    γ (W x + b − μ_run)/σ_run + β = W′ x + b′   with   W′ = (γ/σ_run) W,   b′ = γ (b − μ_run)/σ_run + β

    The scale acts on the rows of W, or on the filters of a convolution. A normalisation that never saw a batch
    has μ_run = 0 and σ_run ≈ 1, and folds as such.
    layer: torch.nn.Linear, Conv1d, Conv2d or Conv3d.   norm: BatchNorm, BatchRenorm, or torch.nn.BatchNorm1d, 2d
    or 3d, in evaluation mode and right behind the layer: not after an activation.
    Raises: TypeError for other modules; ValueError if the norm is in training mode, where it divides by each
    batch's own spread, keeps no averages, or has another number of channels.
    Checked against: the two layers in turn, 1e-12 in float64.
    """
    if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        raise TypeError(f"layer must be dense or convolutional, got {type(layer).__name__}")
    if not isinstance(norm, (BatchNorm, BatchRenorm, *_TORCH)):
        raise TypeError(
            f"norm must be a batch normalisation, got {type(norm).__name__}: one that takes its mean from each sample "
            "is no fixed scale and shift, so it can't be folded"
        )
    if norm.training:
        raise ValueError("norm must be in evaluation mode, got training mode: call norm.eval() first")
    n = norm.num_features if isinstance(norm, _TORCH) else norm.n
    if n != len(layer.weight):
        raise ValueError(f"norm must have the {len(layer.weight)} channels that the layer puts out, got {n}")
    gamma, beta, mean, std = _evaluated(norm)
    folded, scale = copy.deepcopy(layer), gamma / std
    folded.weight.mul_(scale.view(-1, *[1] * (layer.weight.ndim - 1)))
    bias = torch.zeros_like(mean) if layer.bias is None else layer.bias
    folded.bias = nn.Parameter((scale * (bias - mean) + beta).to(layer.weight.dtype))
    return folded


def _evaluated(norm):
    """Return (γ, β, μ_run, σ_run), each (C,)."""
    if not isinstance(norm, _TORCH):
        return norm.gamma, norm.beta, norm.running_mean, norm.running_std()
    if norm.running_mean is None:
        raise ValueError("norm must keep running statistics, got track_running_stats=False: it can't be folded")
    std = (norm.running_var + norm.eps).sqrt()
    gamma, beta = (norm.weight, norm.bias) if norm.affine else (torch.ones_like(std), torch.zeros_like(std))
    return gamma, beta, norm.running_mean, std
