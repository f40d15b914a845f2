"""Small coloured images of shapes, drawn from known factors: an image task that needs no download."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from course_lib.data.datasets import Dataset
from course_lib.data.splits import largest_remainder
from course_lib.names import check_name
from course_lib.rng import generator

__all__ = ["arrows", "shapes"]

_CHUNK = 512  # images drawn at a time, so that the work stays in the cache

Range = tuple[float, float]


def shapes(
    n: int = 2000,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    frequencies: Sequence[float] | Mapping[str, float] | None = None,
    rotation: Range = (-180.0, 180.0),
    **factors,
) -> Dataset:
    """Draw n images (3, 32, 32) in [0, 1] of a circle, square, triangle, pentagon, star, cross, ring or moon.

    classes: those to draw, in this order; all eight by default.
    frequencies: weight of each class, in their order or by name (1 where unnamed): {"star": 0.05} makes
        a rare class. Class sizes are exact, by largest remainder. Default: equal.
    rotation: range of the angle in degrees, clockwise.
    factors: ranges of the other nuisances, each drawn uniformly and independently of the class; a pair
        (v, v) fixes one. position (−0.1, 0.1): centre, from the middle, in image sides. size (0.25, 0.4):
        radius, in image sides. foreground, background (0, 1): each colour channel. gradient (0, 0.2): change
        of the background across the image. noise (0, 0.05): standard deviation of noise on each value.
        clutter (0, 0): number of small discs behind the shape. occlusion (0, 0): side of a square over it,
        in image sides; 0.25 hides much. contrast 0.7: least distance between foreground and background
        colour (black to white is √3). image_size 32: pixels of a side.
    Each factor has its own random stream: changing one range leaves the other draws as they were.
    The result's `factors` hold what was drawn, by these names.
    Raises: ValueError for an unknown class or factor (with the nearest), a range out of order or out of
        bounds, or a class that would get no image.
    """
    chosen = tuple(_SHAPES) if classes is None else tuple(classes)
    for name in chosen:
        check_name("shape", name, tuple(_SHAPES))
    if len(set(chosen)) < max(len(chosen), 2):
        raise ValueError(f"shapes: needs two different classes or more, got {chosen}")
    return _draw(
        "shapes",
        {name: _SHAPES[name] for name in chosen},
        _weights(chosen, frequencies),
        {"n": n, "seed": seed, "rotation": rotation, **factors},
        "Drawn shapes in colour, varying in place, size, angle, colours, noise, clutter and occlusion.",
    )


def arrows(n: int = 2000, seed: int = 0, rotation: Range = (-30.0, 30.0), **factors) -> Dataset:
    """Draw arrows that point left or right: mirroring an image changes its label.

    Arguments as for `shapes`; rotation should stay within ±90 degrees, where left is left.
    """
    kinds = {"left": lambda p: _arrow(p * torch.tensor([-1.0, 1.0])), "right": _arrow}
    options = {"n": n, "seed": seed, "rotation": rotation, **factors}
    return _draw("arrows", kinds, (1.0, 1.0), options, "Arrows that point left or right, as varied as shapes.")


# --- outlines -----------------------------------------------------------------------------------------
# Signed distances (negative inside), for points p (M, P, 2) in units of the radius; y points down.
# They are exact near the outline, which is all that anti-aliasing asks for.


def _disc(p: Tensor, radius: float = 1.0) -> Tensor:
    return p.norm(dim=-1) - radius


def _corners(p: Tensor, n: int, inner: float | None = None) -> Tensor:
    """Regular polygon of n corners, or a star whose inner corners lie at radius `inner`."""
    inner = math.cos(math.pi / n) if inner is None else inner
    half = math.pi / n
    # Fold the plane onto the wedge between one outer corner (1, 0) and the next inner one.
    angle = torch.remainder(torch.atan2(p[..., 0], -p[..., 1]) + half, 2 * half).sub_(half).abs_()
    radius = p.norm(dim=-1)
    edge = torch.tensor([inner * math.cos(half) - 1, inner * math.sin(half)])
    normal = torch.stack([edge[1], -edge[0]]) / edge.norm()
    return (radius * angle.cos() - 1) * normal[0] + radius * angle.sin() * normal[1]


def _box(p: Tensor, width: float, height: float) -> Tensor:
    return torch.maximum(p[..., 0].abs() - width, p[..., 1].abs() - height)


def _cross(p: Tensor) -> Tensor:
    return torch.minimum(_box(p, 0.95, 0.32), _box(p, 0.32, 0.95))


def _ring(p: Tensor) -> Tensor:
    return (p.norm(dim=-1) - 0.75).abs() - 0.25


def _moon(p: Tensor) -> Tensor:
    return torch.maximum(_disc(p), -_disc(p - torch.tensor([0.55, 0.0]), 0.85))


def _arrow(p: Tensor) -> Tensor:
    shaft = _box(p + torch.tensor([0.45, 0.0]), 0.5, 0.25)
    slope = torch.tensor([0.8, 1.0]) / math.hypot(0.8, 1.0)
    head = torch.maximum(-p[..., 0], (p[..., 0] - 1) * slope[0] + p[..., 1].abs() * slope[1])
    return torch.minimum(shaft, head)


_SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "circle": _disc,
    "square": lambda p: _box(p, 0.8, 0.8),
    "triangle": lambda p: _corners(p, 3),
    "pentagon": lambda p: _corners(p, 5),
    "star": lambda p: _corners(p, 5, inner=0.45),
    "cross": _cross,
    "ring": _ring,
    "moon": _moon,
}


# --- factors ------------------------------------------------------------------------------------------


def _weights(chosen: tuple[str, ...], frequencies) -> tuple[float, ...]:
    if frequencies is None:
        return (1.0,) * len(chosen)
    if isinstance(frequencies, Mapping):
        for name in frequencies:
            check_name("shape in frequencies", name, chosen)
        frequencies = [frequencies.get(name, 1.0) for name in chosen]
    weights = tuple(float(w) for w in frequencies)
    if len(weights) != len(chosen) or not all(0 < w < math.inf for w in weights):
        raise ValueError(f"shapes: frequencies must be a positive number for each of {chosen}, got {weights}")
    return weights


def _range(name: str, value, low: float, high: float) -> Range:
    pair = tuple(float(v) for v in value) if isinstance(value, Sequence) else (float(value),) * 2
    if len(pair) != 2 or not low <= pair[0] <= pair[1] <= high:
        raise ValueError(f"{name} must be a range (a, b) with {low:g} ≤ a ≤ b ≤ {high:g}, got {value}")
    return pair


def _sample(
    title: str,
    n: int,
    seed: int,
    rotation: Range,
    position: Range = (-0.1, 0.1),
    size: Range = (0.25, 0.4),
    foreground: Range = (0.0, 1.0),
    background: Range = (0.0, 1.0),
    gradient: Range = (0.0, 0.2),
    noise: Range = (0.0, 0.05),
    clutter: tuple[int, int] = (0, 0),
    occlusion: Range = (0.0, 0.0),
    contrast: float = 0.7,
) -> dict[str, Tensor]:
    """Draw every factor from its own stream."""

    def uniform(name: str, value, low: float, high: float, *shape: int) -> Tensor:
        a, b = _range(name, value, low, high)
        return a + (b - a) * torch.rand(n, *shape, generator=generator(seed, title, name))

    few, many = _range("clutter", clutter, 0, 20)
    count = torch.randint(int(few), int(many) + 1, (n,), generator=generator(seed, title, "clutter"))
    front = uniform("foreground", foreground, 0, 1, 3)
    back = uniform("background", background, 0, 1, 3)
    a, b = _range("background", background, 0, 1)
    draw = generator(seed, title, "contrast")
    for _ in range(100):  # draw anew the backgrounds that are too like the shape
        alike = (front - back).norm(dim=1) < contrast
        if not alike.any():
            break
        back[alike] = a + (b - a) * torch.rand(int(alike.sum()), 3, generator=draw)
    else:
        raise ValueError(
            f"{title}: no background in {background} differs by contrast={contrast} from every foreground in "
            f"{foreground}: widen or separate the ranges, or lower the contrast"
        )
    return {
        "position": uniform("position", position, -0.5, 0.5, 2),
        "size": uniform("size", size, 0.01, 1),
        "rotation": uniform("rotation", rotation, -360, 360),
        "foreground": front,
        "background": back,
        "gradient": uniform("gradient", gradient, 0, 1),
        "noise": uniform("noise", noise, 0, 1),
        "clutter": count,
        "occlusion": uniform("occlusion", occlusion, 0, 1),
    }


_OPTIONS = tuple(inspect.signature(_sample).parameters)[1:]


# --- drawing ------------------------------------------------------------------------------------------


def _draw(title, kinds: dict[str, Callable], weights, options: dict, description: str) -> Dataset:
    side = options.pop("image_size", 32)
    n, seed = options["n"], options["seed"]
    for name in options:
        check_name(f"option of {title}", name, (*_OPTIONS, "image_size"))
    if side < 8:
        raise ValueError(f"{title}: image_size must be at least 8 pixels, got {side}")
    counts = largest_remainder([w / sum(weights) for w in weights], n)
    if min(counts) < 1:
        rare = list(kinds)[counts.index(min(counts))]
        raise ValueError(f"{title}: class {rare!r} would get no image of n={n}: raise n or its frequency")
    y = torch.repeat_interleave(torch.arange(len(kinds)), torch.tensor(counts))
    y = y[torch.randperm(n, generator=generator(seed, title, "order"))]
    factors = _sample(title, **options)
    x = _paint(title, seed, side, y, list(kinds.values()), factors)
    return Dataset(
        x=x,
        y=y,
        name=title,
        class_names=tuple(kinds),
        description=description,
        source="drawn by this library",
        licence="MIT",
        factors=factors,
    )


def _paint(title: str, seed: int, side: int, y: Tensor, outlines: list[Callable], factors) -> Tensor:
    ticks = (torch.arange(side) + 0.5) / side - 0.5
    grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).reshape(-1, 2)  # (P, 2) of x, y
    draws = {name: generator(seed, title, "paint", name) for name in ("gradient", "clutter", "occlusion")}
    grain = generator(seed, title, "paint", "noise")
    most = int(factors["clutter"].max())
    x = torch.empty(len(y), 3, side * side)
    for start in range(0, len(y), _CHUNK):
        rows = slice(start, start + _CHUNK)
        f = {name: value[rows] for name, value in factors.items()}
        m = len(f["size"])

        def over(image: Tensor, distance: Tensor, colour: Tensor) -> Tensor:
            """Paint what lies inside, blending over the one pixel at its outline."""
            cover = (0.5 - distance * side).clamp_(0, 1)[:, None]
            return image + cover * (colour[:, :, None] - image)

        direction = 2 * math.pi * torch.rand(m, generator=draws["gradient"])
        slope = torch.stack([direction.cos(), direction.sin()], 1) @ grid.T  # (m, P)
        tint = torch.rand(m, 3, generator=draws["gradient"]) * 2 - 1
        image = f["background"][:, :, None] + (f["gradient"][:, None] * tint)[:, :, None] * slope[:, None]

        for i in range(most):
            place = torch.rand(m, 1, 2, generator=draws["clutter"]) - 0.5
            colour = torch.rand(m, 3, generator=draws["clutter"])
            hidden = (f["clutter"] <= i)[:, None]
            image = over(image, _disc(grid - place, 0.06) + hidden, colour)

        angle = f["rotation"] * (math.pi / 180)
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).reshape(-1, 2, 2)
        p = (grid - f["position"][:, None]) @ turn / f["size"][:, None, None]
        distance = torch.empty(m, side * side)
        for c, outline in enumerate(outlines):
            mine = y[rows] == c
            distance[mine] = outline(p[mine])
        image = over(image, distance * f["size"][:, None], f["foreground"])

        place = f["position"] + (torch.rand(m, 2, generator=draws["occlusion"]) * 2 - 1) * f["size"][:, None]
        colour = torch.rand(m, 3, generator=draws["occlusion"])
        half = f["occlusion"][:, None] / 2
        box = (grid - place[:, None]).abs().amax(-1) - half + (half == 0)
        image = over(image, box, colour)

        image += f["noise"][:, None, None] * torch.randn(m, 3, side * side, generator=grain)
        x[rows] = image.clamp_(0, 1)
    return x.reshape(-1, 3, side, side)
