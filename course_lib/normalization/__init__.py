r"""Normalisation: of the values in a network, and of its weights.

Batch, layer, instance and group normalisation are one operation, `standardize`, over different axes of
(N, C, *space): N samples, C channels (the units of a dense layer), and the places of a convolution.

    batch       over N and space: one mean per channel            axes (0, 2, …)
    layer       over C and space: one mean per sample             axes (1, 2, …)
    instance    over space: one per sample and channel            axes (2, …)
    group       over a group's channels and space: one per sample and group

`batch_norm` and `batch_norm_backward` are written out by hand; `BatchNorm`, `BatchRenorm`, `LayerNorm`,
`InstanceNorm` and `GroupNorm` are modules; `weight_norm` and `spectral_norm` act on a weight; `fold` makes one
layer of a layer and the batch normalisation behind it.
Chapter: 08_normalization.   Checked against: torch.nn and torch.nn.utils, 1e-12 in float64.
"""

from course_lib.normalization.by_hand import batch_norm, batch_norm_backward, standardize
from course_lib.normalization.folding import fold
from course_lib.normalization.layers import BatchNorm, BatchRenorm, GroupNorm, InstanceNorm, LayerNorm
from course_lib.normalization.weights import spectral_norm, weight_norm

__all__ = [
    "BatchNorm",
    "BatchRenorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "batch_norm",
    "batch_norm_backward",
    "fold",
    "spectral_norm",
    "standardize",
    "weight_norm",
]
