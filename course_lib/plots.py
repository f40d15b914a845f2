"""Figures, one call each. They take arrays, tensors and dicts, and return a matplotlib Figure.

In a notebook the returned figure is shown once, as SVG; change it through `figure.axes` and show it
again. One colour-blind-safe palette (Okabe & Ito 2008), and every series has its own dash or marker too,
so that no figure needs colour to be read. Importing this module changes no matplotlib setting.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import wraps

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["COLOURS", "bars", "heatmap", "histograms", "images", "intervals", "lines", "panels", "regions", "scatter"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (3, 1)), (0, (1, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_STYLE = {
    "figure.figsize": (5.6, 3.4),  # readable at the width of a phone
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 2,
    "lines.markersize": 5,
    "legend.frameon": False,
}


def _figure(function):
    """Draw in the course's style, and close the figure so that a notebook shows it once (or not, on an error)."""

    @wraps(function)
    def draw(*args, **kwargs) -> Figure:
        _show_svg_in_notebooks()
        before = set(plt.get_fignums())
        try:
            with mpl.rc_context(_STYLE):
                figure = function(*args, **kwargs)
                figure.get_layout_engine().execute(figure)
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)
        return figure

    return draw


def _show_svg_in_notebooks() -> None:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None and "inline" in mpl.get_backend():
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg")


def _array(values) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _xy(values) -> tuple[np.ndarray, np.ndarray]:
    """Split a series: (x, y), or y alone over 1, 2, 3, …"""
    if isinstance(values, tuple) and len(values) == 2:
        x, y = map(_array, values)
    else:
        y = _array(values)
        x = np.arange(1, len(y) + 1)
    if x.shape != y.shape or y.ndim != 1:
        raise ValueError(f"a series needs x and y of one length, got {x.shape} and {y.shape}")
    return x, y


def _looks(groups: Iterable[Mapping]) -> dict[str, tuple]:
    """Return name → (colour, dash, marker): one look for one name in all panels, 49 different ones."""
    names = dict.fromkeys(name for group in groups for name in group)
    return {
        name: (COLOURS[i % 7], _DASHES[(i + i // 7) % 7], _MARKERS[(i + i // 7) % 7]) for i, name in enumerate(names)
    }


def _grid(n, columns, size, **options):
    """Return a figure and its n axes, `columns` in a row. size: (rows, columns) → (width, height) in inches."""
    if n < 1:
        raise ValueError("there is nothing to draw: give at least one panel")
    columns = min(columns, n)
    rows = -(-n // columns)
    figure, axes = plt.subplots(rows, columns, figsize=size(rows, columns), squeeze=False, **options)
    for ax in axes.flat[n:]:
        ax.remove()
    return figure, axes.flat[:n]


def _legend(figure, axes):
    """Put one legend with every name above the panels, if there is more than one."""
    handles = {}
    for ax in axes:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    if len(handles) > 1:
        figure.legend(handles.values(), handles, loc="outside upper center", ncols=min(len(handles), 4))


def _known(what, names, series):
    """Refuse a band or an interval for a name that is not drawn."""
    unknown = [name for name in names or () if name not in series]
    if unknown:
        raise ValueError(f"{what} has {unknown}, which is not drawn: the names are {list(series)}")


def _draw_lines(ax, series, bands, markers, looks):
    _known("bands", bands, series)
    for name, values in series.items():
        x, y = _xy(values)
        colour, dash, marker = looks[name]
        ax.plot(x, y, color=colour, ls=dash, marker=marker if markers else None, label=name)
        if bands and name in bands:
            low, high = bands[name]
            ax.fill_between(x, _array(low), _array(high), color=colour, alpha=0.2, lw=0)


def _scales(ax, series, xscale, yscale):
    ax.set(xscale=xscale, yscale=yscale)
    if xscale == "linear" and all((_xy(values)[0] % 1 == 0).all() for values in series.values()):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))  # no epoch 2.5


def _reference(ax, level):
    if level:
        name, value = level
        ax.axhline(value, color="#555555", lw=1, ls=(0, (1, 1)))
        ax.annotate(
            name, (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", color="#444444", fontsize=10
        )


@_figure
def lines(
    series: Mapping[str, object],
    xlabel: str,
    ylabel: str,
    *,
    xscale: str = "linear",
    yscale: str = "linear",
    bands: Mapping[str, tuple] | None = None,
    markers: bool = False,
    level: tuple[str, float] | None = None,
) -> Figure:
    """Curves in one pair of axes.

    series: name → y, or name → (x, y); 1-D, of one length.   bands: name → (low, high) around its curve.
    xscale, yscale: "linear" or "log".   level: (text, value) of a horizontal reference line.
    """
    figure, ax = plt.subplots()
    _draw_lines(ax, series, bands, markers, _looks([series]))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    _scales(ax, series, xscale, yscale)
    _reference(ax, level)
    if len(series) > 1:
        ax.legend()
    return figure


@_figure
def panels(
    panels: Mapping[str, Mapping[str, object]],
    xlabel: str,
    ylabel: str,
    *,
    xscale: str = "linear",
    yscale: str = "linear",
    bands: Mapping[str, Mapping[str, tuple]] | None = None,
    points: Mapping[str, tuple] | None = None,
    markers: bool = False,
    columns: int = 2,
    share_y: bool = True,
) -> Figure:
    """Small multiples of `lines`: title → series, with axes shared so that panels compare.

    bands: title → name → (low, high).   points: title → (x, y) of dots in that panel, such as samples.
    columns: panels in a row.
    """
    figure, axes = _grid(
        len(panels), columns, lambda r, c: (5.6 if c < 3 else 6.6, 2.1 * r + 0.9), sharex=True, sharey=share_y
    )
    _known("bands", bands, panels)
    _known("points", points, panels)
    looks = _looks(panels.values())
    for ax, (title, series) in zip(axes, panels.items(), strict=True):
        _draw_lines(ax, series, (bands or {}).get(title), markers, looks)
        if points and title in points:
            ax.plot(*_xy(points[title]), "o", color="#555555", ms=3.5)
        ax.set_title(title)
        _scales(ax, series, xscale, yscale)
        ax.tick_params(labelbottom=True)
    figure.supxlabel(xlabel, fontsize=11)
    figure.supylabel(ylabel, fontsize=11)
    _legend(figure, axes)
    return figure


@_figure
def scatter(
    panels: Mapping[str, Mapping[str, object]], xlabel: str, ylabel: str, *, equal: bool = True, columns: int = 2
) -> Figure:
    """Points in the plane: title → group → (n, 2). equal: one scale on both axes, so that shapes are true."""
    figure, axes = _grid(len(panels), columns, lambda r, c: (5.6, 5.4 * r / c + 0.5))
    looks = _looks(panels.values())
    for ax, (title, groups) in zip(axes, panels.items(), strict=True):
        for name, points in groups.items():
            x, y = _array(points).T
            colour, _, marker = looks[name]
            ax.scatter(x, y, s=14, color=colour, marker=marker, label=name, alpha=0.6, lw=0, rasterized=len(x) > 500)
        if equal:
            ax.set_aspect("equal", adjustable="datalim")
        ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    _legend(figure, axes)
    return figure


@_figure
def regions(
    panels: Mapping[str, object],
    points: Mapping[str, object],
    xlabel: str,
    ylabel: str,
    *,
    span: tuple[float, float, float, float],
    columns: int = 2,
) -> Figure:
    """Decision regions: the class that a model gives to each place of the plane, a panel for each model.

    panels: title → (H, W) classes 0, 1, … on an even grid, lowest row first.   span: (left, right, bottom, top) of it.
    points: name of class 0, 1, … → (n, 2), drawn in every panel in the colour of its region.
    """
    figure, axes = _grid(len(panels), columns, lambda r, c: (5.6, 5.6 * r / c + 0.5), sharex=True, sharey=True)
    tints = mpl.colors.ListedColormap(COLOURS[: len(points)])
    for ax, (title, classes) in zip(axes, panels.items(), strict=True):
        values, last = _array(classes), len(points) - 1
        ax.imshow(values, cmap=tints, vmin=0, vmax=max(last, 1), alpha=0.25, origin="lower", extent=span)
        if values.min() < values.max():
            ax.contour(values, levels=np.arange(last) + 0.5, colors="#000000", linewidths=1, extent=span)
        for (name, at), (colour, _, marker) in zip(points.items(), _looks([points]).values(), strict=True):
            x, y = _array(at).T
            ax.scatter(x, y, s=8, color=colour, marker=marker, label=name, lw=0)
        ax.grid(visible=False)
        ax.set(title=title, xlim=span[:2], ylim=span[2:], xlabel=xlabel, ylabel=ylabel)
        ax.label_outer()
    _legend(figure, axes)
    return figure


@_figure
def histograms(panels: Mapping[str, object], xlabel: str, *, bins: int = 41, columns: int = 3, span=None) -> Figure:
    """One histogram a panel, with shared axes: title → values of any shape. span: (low, high) of the bins."""
    figure, axes = _grid(len(panels), columns, lambda r, c: (5.6, 1.6 * r + 0.7), sharex=True, sharey=True)
    values = {title: _array(v).ravel() for title, v in panels.items()}
    if span is None:
        span = (min(v.min() for v in values.values()), max(v.max() for v in values.values()))
    for ax, (title, v) in zip(axes, values.items(), strict=True):
        ax.hist(v, bins=bins, range=span, color=COLOURS[0], weights=np.full(len(v), 1 / len(v)))
        ax.set_title(title)
    figure.supxlabel(xlabel, fontsize=11)
    figure.supylabel("share of values", fontsize=11)
    return figure


@_figure
def bars(
    values: Mapping[str, float], ylabel: str, *, errors: Mapping[str, tuple[float, float]] | None = None
) -> Figure:
    """Bars by name, with an interval (low, high) on each where `errors` has one."""
    figure, ax = plt.subplots()
    names = list(values)
    _known("errors", errors, values)
    ax.bar(names, [float(values[n]) for n in names], color=COLOURS[0], width=0.6)
    for i, name in enumerate(names):
        if errors and name in errors:
            low, high = errors[name]
            ax.plot([i, i], [low, high], color="#000000", lw=2, marker="_", ms=9)
    ax.set_ylabel(ylabel)
    ax.grid(visible=False, axis="x")
    return figure


@_figure
def intervals(
    rows: Mapping[str, tuple[float, float, float]], xlabel: str, *, level: tuple[str, float] | None = None
) -> Figure:
    """A dot and an interval per row: name → (value, low, high), first row on top. level: a reference."""
    figure, ax = plt.subplots(figsize=(5.6, 0.45 * len(rows) + 1.2))
    for i, (value, low, high) in enumerate(rows.values()):
        ax.plot([low, high], [i, i], color=COLOURS[0], lw=2.5, solid_capstyle="butt")
        ax.plot(value, i, color=COLOURS[0], marker="o", ms=7)
    if level:
        name, value = level
        ax.axvline(value, color="#555555", lw=1, ls=(0, (1, 1)))
        ax.annotate(
            name, (value, 1), xycoords=("data", "axes fraction"), ha="left", va="bottom", color="#444444", fontsize=10
        )
    ax.set(yticks=range(len(rows)), yticklabels=list(rows), xlabel=xlabel, ylim=(len(rows) - 0.4, -0.6))
    ax.grid(visible=False, axis="y")
    return figure


@_figure
def heatmap(
    matrix,
    xlabel: str,
    ylabel: str,
    *,
    label: str = "",
    xticks: Sequence | None = None,
    yticks: Sequence | None = None,
    cmap: str = "viridis",
    colorbar: bool = True,
) -> Figure:
    """A matrix as colours, first row on top. label: what a colour means, with its unit."""
    values = _array(matrix)
    figure, ax = plt.subplots()
    image = ax.imshow(values, aspect="auto", cmap=cmap, interpolation="nearest")
    ax.grid(visible=False)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if xticks is not None:
        ax.set_xticks(range(len(xticks)), xticks)
    if yticks is not None:
        ax.set_yticks(range(len(yticks)), yticks)
    if colorbar:
        figure.colorbar(image, label=label)
    return figure


@_figure
def images(pictures, titles: Sequence[str] | None = None, *, columns: int = 6, span: tuple | None = None) -> Figure:
    """A grid of pictures.

    pictures: (n, H, W) grey, or (n, 3, H, W) colour in [0, 1].   span: (black, white) of grey ones.
    In the book mark the cell with the class `photo`, so that dark mode leaves the colours alone.
    """
    stack = _array(pictures)
    if stack.ndim not in (3, 4):
        raise ValueError(f"pictures are (n, H, W) or (n, 3, H, W), got {stack.shape}")
    shape = stack.shape[-2] / stack.shape[-1]
    figure, axes = _grid(len(stack), columns, lambda r, c: (5.6, 5.6 / c * r * shape + (0.25 * r if titles else 0)))
    if titles is not None and len(titles) != len(stack):
        raise ValueError(f"needs one title for each of the {len(stack)} pictures, got {len(titles)}")
    low, high = span or (stack.min(), stack.max())
    for i, (ax, picture) in enumerate(zip(axes, stack, strict=True)):
        ax.axis("off")
        if picture.ndim == 3:
            ax.imshow(np.moveaxis(picture, 0, -1).clip(0, 1), interpolation="nearest")
        else:
            ax.imshow(picture, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        if titles:
            ax.set_title(titles[i], fontsize=10)
    return figure
