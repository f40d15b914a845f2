r"""Normalisation of a weight: the length of each unit's weights as a parameter, or the largest stretch set to 1.

A weight is (out, in) of a dense layer or (out, in, *kernel) of a convolution, seen as a matrix (out, in · area).
Chapter: 08_normalization.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from course_lib.names import check_positive, check_whole

__all__ = ["spectral_norm", "weight_norm"]


def weight_norm(v: Tensor, g: Tensor) -> Tensor:
    r"""Return the weight whose direction is v and whose length is g, for each output unit.

    w = g v / ‖v‖₂,   v: one unit's weights, a row of a dense weight or the whole filter of a convolution

    Direction and length are learned apart: ∂L/∂v has no part along v.
    v: (out, …), two axes or more.   g: (out,), in units of w.
    Raises: ValueError for other shapes, or a unit whose v is all zeros and so has no direction (mapped over
    runs, where that can't be asked, its w is NaN).
    Source: Salimans & Kingma 2016.   Checked against: torch.nn.utils.parametrizations.weight_norm.
    """
    if v.ndim < 2 or g.shape != v.shape[:1]:
        raise ValueError(f"v must be (out, in, …) and g (out,), got shapes {tuple(v.shape)} and {tuple(g.shape)}")
    length = torch.linalg.vector_norm(v.flatten(1), dim=1)
    if _known((length == 0).any()):
        units = (length == 0).nonzero().flatten().tolist()
        raise ValueError(f"v of every unit must have a direction, got all zeros for units {units}: draw them anew")
    return v * (g / length).view(-1, *[1] * (v.ndim - 1))


def spectral_norm(W: Tensor, u: Tensor, steps: int = 1, eps: float = 1e-12) -> tuple[Tensor, Tensor]:
    r"""Return (W / σ, u), where σ is the largest singular value of W by power iteration from u.

    steps times:   v ← Wᵀu / ‖Wᵀu‖₂,   u ← W v / ‖W v‖₂
    then           σ = uᵀ W v

    σ is too small until u is the first left singular vector, so keep u for the next call: weights change slowly,
    and one step a call suffices. No gradient goes through u and v; the one through σ is exact once they are.
    W: (out, in) or (out, in, *kernel), seen as (out, in · area).   u: (out,), any but 0 at first.
    steps: ≥ 1.   eps: > 0, the least length that u and v are divided by.
    Raises: ValueError outside these, or σ = 0, for a W of zeros or a u that W never reaches (mapped over runs,
    where that can't be asked, the result is NaN).
    Source: Miyato et al. 2018, Alg. 1.   Checked against: torch.nn.utils.parametrizations.spectral_norm, the
    singular value decomposition.
    """
    check_whole("steps", steps)
    check_positive("eps", eps)
    if W.ndim < 2 or u.shape != W.shape[:1]:
        raise ValueError(f"W must be (out, in, …) and u (out,), got shapes {tuple(W.shape)} and {tuple(u.shape)}")
    matrix = W.flatten(1)
    with torch.no_grad():
        for _ in range(steps):
            v = normalize(matrix.T @ u, dim=0, eps=eps)
            u = normalize(matrix @ v, dim=0, eps=eps)
    sigma = u @ (matrix @ v)
    if _known(sigma == 0):
        what = "W is not all zeros, but Wᵀu is 0: draw u anew" if W.any() else "W is all zeros: draw its weights"
        raise ValueError(f"the largest singular value must be > 0 to divide by, got 0. {what}")
    return W / sigma, u


def _known(condition: Tensor) -> bool:
    """Return the truth of a condition; False under `torch.func.vmap` and tracing, where it has no one truth."""
    try:
        return bool(condition)
    except RuntimeError:
        return False
