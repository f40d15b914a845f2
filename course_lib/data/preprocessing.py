"""Scaling fitted on the training data and then applied to every part: mean, standard deviation, whitening.

Fit on the training part alone. Statistics of validation or test samples leak what a test should not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["MeanSubtraction", "Standardizer", "Whitener"]

_ROWS = 4096  # samples turned to float64 at a time


@dataclass(frozen=True, eq=False)
class MeanSubtraction:
    """Subtract the training mean: x − m.

    mean: broadcast over samples; (D,), or (C, H, W) as AlexNet's mean image, or (C, 1, 1) as VGG's.
    Shapes: x (…, *sample); any leading axes, float32 or float64, on any device; the result is alike.
    Source: Krizhevsky et al. 2012; Simonyan & Zisserman 2015.   Chapter: 01_data_preparation.
    """

    mean: Tensor

    @classmethod
    def fit(cls, x: Tensor, dims: int | Sequence[int] = 0) -> MeanSubtraction:
        """Take the mean of the training data over `dims`: 0 is per feature, (0, 2, 3) per channel.

        Raises: TypeError if x is not floating; ValueError for NaN, no samples, or dims without axis 0.
        """
        dims = _check_fit(x, dims)
        return cls(_trim(_mean(x, dims), dims).to(x.dtype))

    def __call__(self, x: Tensor) -> Tensor:
        return _checked(x, self.mean) - self.mean

    def inverse(self, z: Tensor) -> Tensor:
        """Return z + m."""
        return _checked(z, self.mean) + self.mean


@dataclass(frozen=True, eq=False)
class Standardizer:
    """Standardise: (x − m) / s, with training mean m and standard deviation s (divisor n).

    mean, scale: broadcast over samples; (D,) per feature or (C, 1, 1) per channel, as ResNet's.
    Shapes: x (…, *sample); any leading axes, float32 or float64, on any device; the result is alike.
    Source: LeCun et al. 1998, Efficient BackProp.   Chapter: 01_data_preparation.
    Checked against: sklearn.preprocessing.StandardScaler, 1e-12 in float64.
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def fit(
        cls,
        x: Tensor,
        dims: int | Sequence[int] = 0,
        constant: Literal["error", "keep"] = "error",
        names: Sequence[str] = (),
    ) -> Standardizer:
        """Take mean and standard deviation of the training data over `dims`.

        dims: 0 is per feature; (0, 2, 3) per channel of images (N, C, H, W).
        constant: what to do with a feature of one value, which has no scale. "error" refuses;
            "keep" centres it and leaves its scale alone, so that it is 0 in the training data.
        names: names of the features, for the error.
        Raises: TypeError if x is not floating; ValueError for NaN, no samples, dims without axis 0, or a
            constant feature.
        """
        if constant not in ("error", "keep"):
            raise ValueError(f'constant must be "error" or "keep", got {constant!r}')
        dims = _check_fit(x, dims)
        mean = _mean(x, dims)
        scale = _mean(x, dims, center=mean).sqrt()
        mean, scale = _trim(mean, dims).to(x.dtype), _trim(scale, dims).to(x.dtype)
        flat = _trim(x.amax(dims, keepdim=True) == x.amin(dims, keepdim=True), dims) | (scale == 0)
        if flat.any() and constant == "error":
            names = names if len(names) == flat.numel() else ()
            where = [i[0] if len(i) == 1 else tuple(i) for i in flat.nonzero().tolist()]
            shown = [str(names[i]) if names and isinstance(i, int) else str(i) for i in where[:10]]
            more = f" and {len(where) - 10} more" if len(where) > 10 else ""
            raise ValueError(
                f"every feature needs two values or more to have a scale, got {len(where)} constant of "
                f'{flat.numel()}: {", ".join(shown)}{more}. Drop them, or pass constant="keep"'
            )
        return cls(mean, torch.where(flat, torch.ones_like(scale), scale))

    def __call__(self, x: Tensor) -> Tensor:
        return (_checked(x, self.mean) - self.mean) / self.scale

    def inverse(self, z: Tensor) -> Tensor:
        """Return s·z + m."""
        return _checked(z, self.mean) * self.scale + self.mean


@dataclass(frozen=True, eq=False)
class Whitener:
    """Whiten: centre, then remove every linear correlation of the training data.

    C = V Λ Vᵀ, the covariance of the training data (divisor n − 1);
    PCA: z = (Λ + eps)^(−½) Vᵀ (x − m);   ZCA: z = V (Λ + eps)^(−½) Vᵀ (x − m), the closest to x.
    mean: shape of one sample, D values in all.   matrix, unmatrix: (D, D), one the inverse of the other.
    Shapes: x (…, *sample); any leading axes, float32 or float64, on any device; the result is alike.
    Source: Bell & Sejnowski 1997 (ZCA).   Chapter: 01_data_preparation.
    Checked against: sklearn.decomposition.PCA(whiten=True), 1e-12 in float64.
    """

    mean: Tensor
    matrix: Tensor
    unmatrix: Tensor

    @classmethod
    def fit(cls, x: Tensor, kind: Literal["pca", "zca"] = "pca", eps: float = 0.0) -> Whitener:
        """Find the covariance's eigenvectors; the first component has the largest variance.

        eps: at least 0, in units of x²; added to each variance, so that directions of noise stay small.
        Raises: TypeError if x is not floating; ValueError for NaN, fewer than 2 samples, or a variance
            that vanishes when eps is 0.
        """
        if kind not in ("pca", "zca"):
            raise ValueError(f'kind must be "pca" or "zca", got {kind!r}')
        if not eps >= 0:
            raise ValueError(f"eps is added to a variance and must be at least 0, got {eps}")
        _check_fit(x, 0)
        if len(x) < 2:
            raise ValueError(f"a covariance needs 2 samples or more, got {len(x)}")
        mean = _mean(x, (0,))
        d = mean.numel()
        covariance = torch.zeros(d, d, dtype=torch.float64, device=x.device)
        for rows in x.split(_ROWS):
            centred = (rows.double() - mean).flatten(1)
            covariance += centred.T @ centred
        variance, v = torch.linalg.eigh(covariance / (len(x) - 1))
        variance, v = variance.flip(0), v.flip(1)
        # An eigenvector's sign is free: make its largest entry positive, as scikit-learn does.
        v = v * v.gather(0, v.abs().argmax(0, keepdim=True)).sign()
        floor = max(d, len(x)) * torch.finfo(x.dtype).eps * float(variance[0].clamp(min=0))
        if eps == 0 and (variance <= floor).any():
            raise ValueError(
                f"whitening divides by every standard deviation, got {int((variance <= floor).sum())} of {d} "
                "directions without variance: pass eps > 0, drop constant or repeated features, or use "
                "more samples than features"
            )
        root = (variance.clamp(min=0) + eps).sqrt()
        matrix, unmatrix = v / root, (v * root).T
        if kind == "zca":
            matrix, unmatrix = matrix @ v.T, v @ unmatrix
        return cls(mean[0].to(x.dtype), matrix.to(x.dtype), unmatrix.to(x.dtype))

    def __call__(self, x: Tensor) -> Tensor:
        return self._times(_checked(x, self.mean) - self.mean, self.matrix)

    def inverse(self, z: Tensor) -> Tensor:
        """Return the data that whitening turned into z."""
        return self._times(_checked(z, self.mean), self.unmatrix) + self.mean

    def _times(self, x: Tensor, matrix: Tensor) -> Tensor:
        return (x.reshape(-1, self.mean.numel()) @ matrix).reshape(x.shape)


def _check_fit(x: Tensor, dims: int | Sequence[int]) -> tuple[int, ...]:
    """Check the training data and return dims as sorted positive axes."""
    if not x.is_floating_point():
        raise TypeError(f"x must be float32 or float64, got {x.dtype}: use x.float()")
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(f"needs samples (N, …) with N at least 1, got shape {tuple(x.shape)}")
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    if any(not -x.ndim <= d < x.ndim for d in dims) or 0 not in (axes := sorted({d % x.ndim for d in dims})):
        raise ValueError(
            f"dims are axes of x ({x.ndim} of them) and must hold 0, the axis of samples, got {dims}: use 0 "
            "for statistics of each feature, (0, 2, 3) for those of each channel of images"
        )
    bad = ~torch.isfinite(x)
    if bad.any():
        raise ValueError(
            f"training data must be finite, got {int(bad.sum())} NaN or infinite values, the first in sample "
            f"{int(bad.nonzero()[0, 0])}: drop or fill them before fitting"
        )
    return tuple(axes)


def _mean(x: Tensor, dims: tuple[int, ...], center: Tensor | None = None) -> Tensor:
    """Mean over dims (kept, as 1) of x, or of (x − center)², summed in float64."""
    total = 0.0
    for rows in x.split(_ROWS):
        rows = rows.double()
        total = total + (rows if center is None else (rows - center) ** 2).sum(dims, keepdim=True)
    count = 1
    for d in dims:
        count *= x.shape[d]
    return total / count


def _trim(statistic: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Drop the leading reduced axes, which hold samples; keep the others for broadcasting."""
    lead = 0
    while lead < len(dims) and dims[lead] == lead:
        lead += 1
    return statistic.reshape(statistic.shape[lead:])


def _checked(x: Tensor, statistic: Tensor) -> Tensor:
    """Return x if its last axes are those that the statistic was fitted on: no silent broadcasting."""
    sample = x.shape[x.ndim - statistic.ndim :] if x.ndim >= statistic.ndim else None
    if sample is None or any(s not in (1, m) for s, m in zip(statistic.shape, sample, strict=True)):
        raise ValueError(
            f"x must end in the axes that were fitted, {tuple(statistic.shape)} (1 stands for any), got shape "
            f"{tuple(x.shape)}"
        )
    if x.dtype != statistic.dtype:
        raise TypeError(f"fitted on {statistic.dtype}, got x of {x.dtype}: use x.to({statistic.dtype})")
    return x
