"""Bias and variance of a way of fitting: how its predictions lie around the truth over many training sets."""

from typing import NamedTuple

import torch

from course_lib.names import check_not_negative

__all__ = ["BiasVariance", "bias_variance"]


class BiasVariance(NamedTuple):
    """The parts of the expected squared error, each in the squared unit of the targets."""

    bias2: float
    variance: float
    noise: float

    @property
    def error(self) -> float:
        """Their sum: the squared error to expect on new targets."""
        return self.bias2 + self.variance + self.noise


def bias_variance(predictions, noiseless, noise: float = 0.0) -> BiasVariance:
    r"""Split the expected squared error into bias², variance and noise, averaged over the places of prediction.

    variance = Σᵣ (f̂ᵣ − f̄)² / (R − 1),   bias² = (f̄ − f)² − variance / R,   f̄ = Σᵣ f̂ᵣ / R

    Both are unbiased for independent training sets: (f̄ − f)² alone is too large by the variance of the mean f̄, and
    dividing by R alone makes the variance too small by as much. Their sum is the mean of (f̂ᵣ − f)² exactly, for any
    R. So bias² can come out a little below zero where there is none.

    predictions: (R, *places), f̂ of R ≥ 2 models, each fitted to its own training set.   noiseless: (*places), the true
    f there; where only noisy targets are known, their noise counts as bias².   Both tensors or arrays, finite.
    noise: σ² ≥ 0, the variance of the targets around f.
    Raises: ValueError for fewer than two models, shapes that do not fit, values that are not finite, or noise < 0.
    Source: Geman, Bienenstock & Doursat 1992; Hastie, Tibshirani & Friedman 2009, §7.3.
    Chapter: 04_bias_and_variance.   Checked against: σ²p/n of least squares; the mean squared error, 1e-12.
    """
    predictions, noiseless = (torch.as_tensor(t).detach().double() for t in (predictions, noiseless))
    if predictions.ndim < 1 or len(predictions) < 2:
        raise ValueError(
            f"bias_variance needs the predictions of at least 2 models, (R, *places), got {tuple(predictions.shape)}: "
            "fit to more training sets"
        )
    if predictions.shape[1:] != noiseless.shape or not noiseless.numel():
        raise ValueError(
            "bias_variance needs predictions (R, *places) and noiseless (*places), with at least one place, got "
            f"{tuple(predictions.shape)} and {tuple(noiseless.shape)}: reshape one of them"
        )
    if not (predictions.isfinite().all() and noiseless.isfinite().all()):
        raise ValueError("bias_variance needs finite values, got NaN or infinity: leave out models that diverged")
    check_not_negative("noise", noise)
    away = predictions - noiseless  # first, so that a large offset in both costs no digits
    variance = away.var(0)
    bias2 = away.mean(0) ** 2 - variance / len(away)
    return BiasVariance(bias2.mean().item(), variance.mean().item(), float(noise))
