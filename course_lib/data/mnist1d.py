"""MNIST-1D: a generated task that tells linear, dense and convolutional networks apart in seconds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from course_lib.data.datasets import SPLITS, Dataset
from course_lib.names import check_name
from course_lib.rng import numpy_generator

__all__ = ["mnist1d", "mnist1d_templates"]

# The ten digits as 12 heights each, as published.
_HEIGHTS = np.array([
    [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
    [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
    [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
    [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
    [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
    [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
    [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
    [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
    [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
    [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
])  # fmt: skip
_EPS = 1e-8  # keeps a template's own zeros apart from the padding
_SIGMA = 2.0  # of the Gaussian filter that correlates the noise, in samples


class Draws(NamedTuple):
    """What one set of N signals is made from; D is the length before the last resampling."""

    padding: np.ndarray  # (N,) zeros put after the template
    scale: np.ndarray  # (N,) factor on the height
    shift: np.ndarray  # (N,) steps to the right, around the end
    correlated: np.ndarray  # (N, D) white noise that is then filtered, where there is no template
    white: np.ndarray  # (N, D) white noise everywhere
    shear: np.ndarray  # (N,) slope


def mnist1d_templates() -> np.ndarray:
    """Return the ten patterns (10, 12): each standardised, started at height 0, divided by 6."""
    z = (_HEIGHTS - _HEIGHTS.mean(1, keepdims=True)) / _HEIGHTS.std(1, keepdims=True)
    return (z - z[:, :1]) / 6


def mnist1d(
    split: str = "all",
    seed: int = 42,
    n: int = 5000,
    train_split: float = 0.8,
    padding: tuple[int, int] = (36, 60),
    scale_coeff: float = 0.4,
    max_translation: int = 48,
    corr_noise_scale: float = 0.25,
    iid_noise_scale: float = 0.02,
    shear_scale: float = 0.75,
    final_seq_length: int = 40,
    shuffle_seq: bool = False,
) -> Dataset:
    """Generate MNIST-1D: x (n, 40), ten classes of equal size.

    Each signal is a template, padded by padding[0] … padding[1] zeros, stretched to length
    D = 12 + padding[1], scaled by 1 ± scale_coeff/2, rolled by 0 … max_translation−1, filled with
    correlated noise where it was padded, given white noise, sheared by up to ± shear_scale/2, and
    resampled to final_seq_length. The whole set, test part included, is shifted and scaled to mean 0
    and standard deviation 1, as published.
    split: "train" is the first train_split of the samples, "test" the rest, "all" both in that order.
    n: a multiple of 10.   shuffle_seq: one permutation of the positions for all, which hides locality.
    Source: Greydanus 2020, Scaling down deep learning, arXiv 2011.14439; its defaults. The order of the
        draws is ours, so a seed gives other signals than the authors' file, from the same distribution.
    Checked against: a literal one-signal-at-a-time version, 1e-12; the published accuracies.
    """
    check_name("split of mnist1d", split, SPLITS)
    if n < 10 or n % 10:
        raise ValueError(f"mnist1d: n must be a multiple of 10, for ten classes of equal size, got {n}")
    low, high = padding
    if not 0 <= low <= high:
        raise ValueError(f"mnist1d: padding must be 0 ≤ low ≤ high, got {padding}")
    if not 1 <= max_translation <= 12 + high:
        raise ValueError(f"mnist1d: max_translation must lie in 1 … {12 + high}, got {max_translation}")
    if final_seq_length < 2:
        raise ValueError(f"mnist1d: final_seq_length must be at least 2, got {final_seq_length}")
    if not 0 < train_split < 1 or not 0 < int(n * train_split) < n:
        raise ValueError(f"mnist1d: train_split must leave both parts a sample, got {train_split} of {n}")
    rng = numpy_generator(seed, "mnist1d")
    labels = np.repeat(np.arange(10), n // 10)
    draws = Draws(
        padding=rng.integers(low, high + 1, n),
        scale=1 + scale_coeff * (rng.random(n) - 0.5),
        shift=rng.integers(0, max_translation, n),
        correlated=corr_noise_scale * rng.standard_normal((n, 12 + high)),
        white=iid_noise_scale * rng.standard_normal((n, 12 + high)),
        shear=shear_scale * (rng.random(n) - 0.5),
    )
    x = _signals(labels, draws, final_seq_length)
    order = rng.permutation(n)
    x, y = x[order], labels[order]
    if shuffle_seq:
        x = x[:, rng.permutation(final_seq_length)]
    x = (x - x.mean()) / x.std()
    cut = int(n * train_split)
    part = {"all": slice(None), "train": slice(cut), "test": slice(cut, None)}[split]
    return Dataset(
        x=torch.tensor(x[part], dtype=torch.float32),
        y=torch.tensor(y[part], dtype=torch.int64),
        name="mnist1d",
        class_names=tuple("0123456789"),
        description="MNIST-1D: ten one-dimensional patterns, shifted, stretched, sheared and in noise.",
        source="generated after Greydanus 2020, Scaling down deep learning, https://arxiv.org/abs/2011.14439",
        licence="MIT",
    )


def _signals(labels: np.ndarray, draws: Draws, length: int) -> np.ndarray:
    """Make the signals (N, length) from their labels (N,) and draws, before standardisation."""
    d = draws.white.shape[1]
    # Stretch 12 + padding points to d: position u in the padded template of each of the d points.
    u = np.arange(d) * ((11 + draws.padding) / (d - 1))[:, None]
    drawn = u < 12  # from the last point of the template (11) the line falls to the first zero (12)
    u = np.minimum(u, 12)
    left = np.minimum(u.astype(int), 11)
    points = np.pad(mnist1d_templates() + _EPS, ((0, 0), (0, 1)))[labels]
    y0, y1 = np.take_along_axis(points, left, 1), np.take_along_axis(points, left + 1, 1)
    x = (y0 + (u - left) * (y1 - y0)) * draws.scale[:, None]

    rolled = (np.arange(d) - draws.shift[:, None]) % d
    x, drawn = np.take_along_axis(x, rolled, 1), np.take_along_axis(drawn, rolled, 1)
    x = np.where(drawn, x, gaussian_filter1d(draws.correlated, _SIGMA, axis=1))
    x = x + draws.white - draws.shear[:, None] * np.linspace(-0.5, 0.5, d)

    v = np.linspace(0, d - 1, length)
    left = np.minimum(v.astype(int), d - 2)
    return x[:, left] + (v - left) * (x[:, left + 1] - x[:, left])
