"""Two-dimensional problems that a figure can show whole: moons, circles, spirals, blobs, XOR."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.data.datasets import Dataset
from course_lib.rng import generator

__all__ = ["blobs", "circles", "moons", "spirals", "xor"]


def moons(n: int = 500, noise: float = 0.1, seed: int = 0) -> Dataset:
    """Two half circles that reach into each other.

    (cos t, sin t) and (1 − cos t, ½ − sin t), t evenly spaced in [0, π], plus N(0, noise²).
    n: samples, at least 2.   noise: standard deviation, at least 0.   x: (n, 2), y in {0, 1}.
    Checked against: sklearn.datasets.make_moons without noise.
    """
    upper, lower = (_line(m, math.pi) for m in _counts("moons", n, 2))
    points = [
        torch.stack([upper.cos(), upper.sin()], 1),
        torch.stack([1 - lower.cos(), 0.5 - lower.sin()], 1),
    ]
    return _finish("moons", points, noise, seed, ("upper", "lower"), "Two half circles that interleave.")


def circles(n: int = 500, noise: float = 0.1, factor: float = 0.5, seed: int = 0) -> Dataset:
    """A circle of radius 1 around one of radius `factor` in (0, 1), plus N(0, noise²).

    Checked against: sklearn.datasets.make_circles without noise.
    """
    if not 0 < factor < 1:
        raise ValueError(f"circles: factor is the inner radius and must lie in (0, 1), got {factor}")
    points = []
    for radius, m in zip((1.0, factor), _counts("circles", n, 2), strict=True):
        t = _line(m + 1, 2 * math.pi)[:-1]
        points.append(radius * torch.stack([t.cos(), t.sin()], 1))
    return _finish("circles", points, noise, seed, ("outer", "inner"), "One circle inside another.")


def spirals(n: int = 500, noise: float = 0.05, arms: int = 2, turns: float = 1.5, seed: int = 0) -> Dataset:
    """Arms of a spiral, one class each: radius u in [0.1, 1], angle 2π(turns·u + arm/arms).

    noise: standard deviation of the shift of each point.   arms: 2 or more.   turns: more is harder.
    """
    if arms < 2:
        raise ValueError(f"spirals: needs at least 2 arms, got {arms}")
    points = []
    for arm, m in enumerate(_counts("spirals", n, arms)):
        u = 0.1 + _line(m, 0.9)
        angle = 2 * math.pi * (turns * u + arm / arms)
        points.append(u[:, None] * torch.stack([angle.cos(), angle.sin()], 1))
    names = tuple(f"arm {i + 1}" for i in range(arms))
    return _finish("spirals", points, noise, seed, names, "Spiral arms that wind around each other.")


def blobs(n: int = 500, noise: float = 0.5, classes: int = 3, seed: int = 0) -> Dataset:
    """Round Gaussians with standard deviation `noise`, their means evenly spaced on the unit circle.

    For two classes the best boundary is the line x1 = 0, with error Φ(−1/noise).
    """
    if classes < 2:
        raise ValueError(f"blobs: needs at least 2 classes, got {classes}")
    points = []
    for i, m in enumerate(_counts("blobs", n, classes)):
        angle = torch.tensor(2 * math.pi * i / classes, dtype=torch.float64)
        points.append(torch.stack([angle.cos(), angle.sin()]).expand(m, 2))
    names = tuple(f"blob {i + 1}" for i in range(classes))
    return _finish("blobs", points, noise, seed, names, "Round Gaussians around the unit circle.")


def xor(n: int = 500, noise: float = 0.1, seed: int = 0) -> Dataset:
    """Uniform points in the square [−1, 1]²; the class says whether x1·x2 < 0, before N(0, noise²) is added.

    No line separates it (Minsky & Papert 1969): without noise the best linear accuracy is ⅔, by the line
    x1 + x2 = ⅔.
    """
    same, different = _counts("xor", n, 2)
    draw = generator(seed, "xor", "position")
    points = []
    for m, sign in ((same, 1), (different, -1)):
        point = torch.rand(m, 2, generator=draw, dtype=torch.float64)
        flip = torch.randint(2, (m, 1), generator=draw) * 2 - 1
        points.append(point * flip * torch.tensor([1, sign]))
    return _finish("xor", points, noise, seed, ("same sign", "opposite sign"), "Quadrants, by their signs.")


def _counts(name: str, n: int, k: int) -> list[int]:
    """Sizes of k classes that add up to n and differ by at most 1."""
    if n < k:
        raise ValueError(f"{name}: every one of {k} classes needs a sample, got n={n}: use n={k} or more")
    return [n // k + (i < n % k) for i in range(k)]


def _line(m: int, end: float) -> Tensor:
    return torch.linspace(0, end, m, dtype=torch.float64)


def _finish(name, points: list[Tensor], noise, seed, class_names, description) -> Dataset:
    """Join the classes, add the noise and shuffle, each from its own stream of the seed."""
    if not (noise >= 0 and math.isfinite(noise)):
        raise ValueError(f"{name}: noise is a standard deviation, at least 0, got {noise}")
    x = torch.cat(points)
    y = torch.cat([torch.full((len(p),), i) for i, p in enumerate(points)])
    x = x + noise * torch.randn(x.shape, generator=generator(seed, name, "noise"), dtype=torch.float64)
    order = torch.randperm(len(y), generator=generator(seed, name, "order"))
    return Dataset(
        x=x[order].float(),
        y=y[order],
        name=name,
        class_names=class_names,
        feature_names=("x1", "x2"),
        description=description,
        source="generated by this library",
        licence="MIT",
    )
