"""Interactive figures: a reader chooses among runs that were computed before, without a server.

One piece of HTML holds everything: a drawing of the first choice, the runs as JSON, native controls, and a
script that touches nothing else. So it works in the book, in a notebook and in a saved page. Without script and
in print the drawing stays. Colours are those of the text and the theme.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from itertools import product

import numpy as np

__all__ = ["Explorer", "explorer"]

WIDTH, HEIGHT = 500, 300  # units of the drawing: one is less than two pixels wide
FAR = 10  # windows from the middle: where a path that diverges is cut


@dataclass(frozen=True, repr=False)
class Explorer:
    """A figure with controls, as `explorer` returns it. A notebook shows it; `print` describes the first choice."""

    title: str
    text: str
    html: str

    def __repr__(self):
        return f"{self.title}\n{self.text}"

    def _repr_html_(self):
        return self.html


def explorer(
    title: str,
    choices: Mapping[str, Sequence],
    paths: Mapping[tuple, object],
    results: Mapping[tuple, float],
    *,
    measure: str,
    first: tuple,
    window: tuple[tuple[float, float], tuple[float, float]],
    labels: tuple[str, str],
    alt: str,
    contours: Iterable = (),
    goal: tuple[float, float] | None = None,
) -> Explorer:
    """Paths in the plane, one at a time: a menu and sliders choose which, and the page says how it ends.

    choices: what a control is called → its values in order. The first one is a menu, the others are sliders.
    paths: one value of each control → (n, 2) points, n ≥ 1; None stands for a control that such a run has not.
    results: the same keys → a number, said in words as `measure`; infinite or nan for a run without one.
    first: the key that is drawn before anything is chosen, and in print.   alt: what the drawing shows then.
    window: ((left, right), (bottom, top)) in units of the points; a path may leave it.   labels: of both axes.
    contours: lines of (n, 2) points below the path.   goal: a point that a cross marks.
    Raises: ValueError where keys, shapes or the window do not fit.
    """
    values = {name: list(of) for name, of in choices.items()}
    _check_window(window)
    if not alt.strip():
        raise ValueError(f"alt must say what the drawing shows, got {alt!r}: a reader may not see it")
    used = _check_keys(values, paths, results)
    if first not in paths:
        raise ValueError(f"the first choice must be a key of paths, got {first}: take one like {next(iter(paths))}")
    runs = {}
    for key, path in paths.items():
        points = _points(f"the path of {key}", path)
        index = [values[name].index(v) if v is not None else "" for name, v in zip(values, key, strict=True)]
        said = _number(results[key]) + ("" if _inside(points[-1], window) else "; the path ends outside the picture")
        runs[",".join(map(str, index))] = [said, _moves(_cut(points, window), window)]
        if key == first:
            start, drawn = index, runs[",".join(map(str, index))]
    words = {name: [_minus(str(value)) for value in of] for name, of in values.items()}
    menu, *sliders = words
    data = {"words": list(words.values()), "names": list(words), "used": used, "measure": measure, "runs": runs}
    chosen = [
        words[menu][start[0]],
        *(f"{name} {words[name][i]}" for name, i in zip(sliders, start[1:], strict=True) if i != ""),
    ]
    text = f"{', '.join(chosen)}: {measure} {drawn[0]}"
    lines = [_moves(_points("a contour", line), window) for line in contours]
    parts = [
        f'<p class="explorer-title"><strong>{escape(title)}</strong></p>',
        f'<div class="explorer-controls" hidden="">{_controls(words, start)}</div>',
        f"<p>↑ {escape(labels[1])}</p>",
        _drawing(drawn[1], lines, window, goal, alt),
        f'<p class="explorer-right">{escape(labels[0])} →</p>',
        f'<p class="explorer-text" aria-live="polite">{escape(text)}</p>',
    ]
    return Explorer(title, text, _whole(parts, data))


# --- checks -----------------------------------------------------------------------------------------


def _check_keys(values, paths, results):
    """For each value of the menu, tell which controls its runs have."""
    if not values or not all(values.values()):
        raise ValueError(f"each control needs a value to choose, got {values}: give at least one each")
    menu, *sliders = values.values()
    used = []
    expected = set()
    for name in menu:
        first = next((key for key in paths if key[0] == name), None)
        if first is None or len(first) != len(values):
            shape = f"({', '.join(values)})"
            raise ValueError(f"each value of a menu needs paths with keys {shape}, got {first} for {name!r}: add them")
        used.append([value is not None for value in first])
        expected |= set(product([name], *(of if on else [None] for of, on in zip(sliders, used[-1][1:], strict=True))))
    for what, given in (("paths", paths), ("results", results)):
        if missing := expected - set(given):
            raise ValueError(f"{what} needs a run for every choice, got none for {min(missing, key=str)}: add it")
        if extra := set(given) - expected:
            raise ValueError(f"{what} has {min(extra, key=str)}, which no control reaches: add its values to choices")
    return used


def _check_window(window):
    for low, high in window:
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"a window goes from low to high, both finite, got {low} to {high}: swap or change them")


def _points(what, path):
    points = np.asarray(path, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"{what} must be (n, 2) with n ≥ 1, got {points.shape}: give one row for each point")
    if not np.isfinite(points[0]).all():
        raise ValueError(f"{what} must start at finite numbers, got {points[0]}: nothing could be drawn")
    return points


# --- numbers ----------------------------------------------------------------------------------------


def _inside(point, window):
    return all(low <= value <= high for value, (low, high) in zip(point, window, strict=True))


def _cut(points, window):
    """End a path at its first point that is far outside, so that numbers stay short."""
    low, high = np.array(window).T
    near = np.abs(points - (low + high) / 2) <= FAR * (high - low)
    far = np.flatnonzero(~near.all(1))
    points = points[: far[0] + 1] if len(far) else points
    points = points[np.isfinite(points).all(1)]
    return np.clip(points, low - 2 * FAR * (high - low), high + 2 * FAR * (high - low))


def _moves(points, window):
    """Return the first point and then the way from each point to the next, in whole units of the drawing."""
    (left, right), (bottom, top) = window
    x = (points[:, 0] - left) / (right - left) * WIDTH
    y = (top - points[:, 1]) / (top - bottom) * HEIGHT
    whole = np.rint(np.stack([x, y], 1)).astype(int)
    return np.diff(whole, axis=0, prepend=0).ravel().tolist()


def _number(value):
    """Two digits, as people write them. Powers of ten where zeros would be many."""
    value = float(value)
    if not math.isfinite(value):
        return "not finite"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return _minus(f"{float(f'{value:.2g}'):g}")
    digits, power = f"{value:.1e}".split("e")
    return _minus(f"{digits}\u00a0×\u00a010") + str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _minus(text):
    return text.replace("-", "−") if text[:1] == "-" else text


def _ticks(low, high):
    """Between two and six round numbers from low to high."""
    rough = (high - low) / 6
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


# --- markup -----------------------------------------------------------------------------------------


def _controls(words, start):
    (menu, names), *sliders = words.items()
    marks = ["", ' selected=""']
    options = "".join(
        f'<option value="{i}"{marks[i == start[0]]}>{escape(name)}</option>' for i, name in enumerate(names)
    )
    parts = [f'<label>{escape(menu)}<select autocomplete="off">{options}</select></label>']
    for (name, values), i in zip(sliders, start[1:], strict=True):
        parts += [
            f'<label>{escape(name)} <span aria-hidden="true"></span>'
            f'<input type="range" autocomplete="off" max="{len(values) - 1}" value="{i or 0}"/></label>'
        ]
    return "".join(parts)


def _drawing(path, contours, window, goal, alt):
    """Lines in a box that stretches with the page; the numbers beside it keep their size."""
    (left, right), (bottom, top) = window
    x = "".join(
        f'<text x="{11 + 88 * (tick - left) / (right - left):.1f}%" y="98%">{_minus(f"{tick:g}")}</text>'
        for tick in _ticks(left, right)
    )
    y = "".join(
        f'<text x="9%" y="{90 * (top - tick) / (top - bottom):.1f}%" dy="4">{_minus(f"{tick:g}")}</text>'
        for tick in _ticks(bottom, top)
    )
    faint = "".join(f'<path d="{_line(line)}"/>' for line in contours)
    mark = ""
    if goal is not None:
        cross = _moves(_points("the goal", [goal]), window)
        mark = f'<path class="explorer-goal" d="M{cross[0] - 7} {cross[1] - 7}l14 14m0-14l-14 14"/>'
    dots, end = _dots(path)
    return (
        f'<svg role="img" aria-label="{escape(alt)}" width="100%" height="300" font-size="13" fill="currentColor">'
        f'<g text-anchor="middle">{x}</g><g text-anchor="end">{y}</g>'
        f'<svg class="explorer-plot" x="11%" width="88%" height="90%" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'preserveAspectRatio="none"><g><rect width="{WIDTH}" height="{HEIGHT}"/>{faint}</g>'
        f'<path class="explorer-line" d="{_line(path)}"/><path class="explorer-dots" d="{dots}"/>'
        f'<path class="explorer-end" d="{end}"/>{mark}</svg></svg>'
    )


def _line(moves):
    return "m" + " ".join(map(str, moves))


def _dots(moves):
    """A line of no length with round ends is a dot of the same size at every width of the page."""
    dots = [f"M{x} {y}h0" for x, y in np.array(moves).reshape(-1, 2).cumsum(0).tolist()]
    return "".join(dots), dots[-1]


def _whole(parts, data):
    payload = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    payload = payload.replace("<", "\\u003c").replace("&", "\\u0026")  # nothing that ends the script
    body = "\n".join(parts)
    name = sha256((body + payload).encode()).hexdigest()[:8]
    return (
        f'<div class="explorer" data-explorer="{name}">\n<style>{STYLE}</style>\n{body}\n'
        f'<script type="application/json">{payload}</script>\n<script>{SCRIPT.replace("NAME", name)}</script>\n</div>'
    )


STYLE = """
.explorer { max-width: 42rem; text-align: left; }
.explorer p { margin: 0.25rem 0; }
.explorer .explorer-right { text-align: right; }
.explorer .explorer-text { min-height: 3.2em; }
.explorer-controls { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 0.5rem 1.5rem; }
.explorer-controls[hidden] { display: none; }
.explorer-controls :is(select, input) { display: block; box-sizing: border-box; width: 100%; height: 2rem; margin: 0; }
.explorer-controls select { color: inherit; background: transparent; border: 1px solid; font: inherit; }
.explorer-controls option { color: CanvasText; background: Canvas; }
.explorer svg { display: block; }
.explorer-plot { fill: none; stroke: currentColor; stroke-linecap: round; stroke-linejoin: round; }
.explorer-plot :is(path, rect) { vector-effect: non-scaling-stroke; }
.explorer-plot g { stroke-opacity: 0.35; }
.explorer-goal { stroke-width: 1.5; }
.explorer-line, .explorer-dots, .explorer-end { stroke: var(--pst-color-link, currentColor); }
.explorer-line { stroke-width: 1.5; }
.explorer-dots { stroke-width: 5; }
.explorer-end { stroke-width: 11; }
@media print { .explorer-controls { display: none; } }
"""

SCRIPT = """
for (const root of document.querySelectorAll('[data-explorer="NAME"]:not([data-ready])')) {
  root.dataset.ready = "";
  const find = (name) => root.querySelector(".explorer-" + name);
  const { words, names, used, measure, runs } = JSON.parse(root.querySelector("script").textContent);
  const controls = [...root.querySelectorAll("select, input")];
  const show = () => {
    const on = used[controls[0].value];
    const chosen = [];
    controls.forEach((control, i) => {
      const word = on[i] ? words[i][control.value] : "none";
      control.disabled = !on[i];
      if (on[i]) chosen.push(i ? names[i] + " " + word : word);
      if (i) {
        control.previousElementSibling.textContent = word;
        control.setAttribute("aria-valuetext", word);
      }
    });
    const [said, moves] = runs[controls.map((control, i) => (on[i] ? control.value : "")).join()];
    let x = 0, y = 0, dots = "";
    for (let i = 0; i < moves.length; i += 2) {
      x += moves[i];
      y += moves[i + 1];
      dots += `M${x} ${y}h0`;
    }
    find("line").setAttribute("d", "m" + moves.join(" "));
    find("dots").setAttribute("d", dots);
    find("end").setAttribute("d", `M${x} ${y}h0`);
    const text = `${chosen.join(", ")}: ${measure} ${said}`;
    if (find("text").textContent === text) return;
    find("text").textContent = text;
    root.querySelector("svg").setAttribute("aria-label", text);
  };
  controls.forEach((control) => control.addEventListener("input", show));
  find("controls").hidden = false;
  show();
}
"""
