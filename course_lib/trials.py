"""From a frame of runs to the scores of each arm, by a claim's design: the same tuning for all, and nothing undeclared.

A frame has one row per run. Its columns are the design's axis, `seed`, the conditions, the tuned
hyperparameters, the measure, and, where runs can diverge, `diverged` (true or false) or `diverged_at` (the
step; NaN for a run that did not).
"""

import math
from numbers import Real
from typing import NamedTuple

import numpy as np
import pandas as pd

from course_lib.designs import DIVERGED, ClaimError, Design, is_number, product

__all__ = ["Scores", "scores", "tuned"]


class Scores(NamedTuple):
    """What one arm reached in one condition."""

    values: pd.Series  # the measure, by seed
    chosen: dict  # the tuned hyperparameters: name → value
    edge: tuple  # the names of those that lie at an end of their grid
    diverged: int  # how many of the measured runs diverged


def tuned(design: Design, frame: pd.DataFrame) -> list[dict]:
    """Return the hyperparameters that the tuning runs choose: a dict per condition and arm, with both in it.

    For a chapter that measures with the chosen values only. frame: the tuning runs; others are left aside.
    """
    runs = _read(design, frame)
    return [
        {**setting, design.axis: arm, **_choose(design, runs, setting, arm)}
        for setting in design.settings
        for arm in design.arms
    ]


def scores(design: Design, frame: pd.DataFrame) -> list[dict]:
    """Return, for each of `settings`, arm → Scores.

    Raises: ClaimError, if the frame holds anything else than the design declares.
    """
    runs = _read(design, frame)
    declared = (*design.seeds, *design.tuning_seeds)
    _refuse("seeds", [seed for seed in runs["seed"].unique() if seed not in declared], declared)
    return [{arm: _score(design, runs, setting, arm) for arm in design.arms} for setting in design.settings]


def _read(design, frame):
    """The columns of the design, with values as declared, and `_diverged` added; refuse what is not declared."""
    if not isinstance(frame, pd.DataFrame):
        raise ClaimError(f"a claim is judged on a pandas DataFrame with a row per run, got {type(frame).__name__}")
    keys = {design.axis: design.arms, **design.conditions, **design.tune}
    measures = {design.measure, design.tune_by or design.measure} - set(DIVERGED)
    lost = [name for name in [*keys, "seed", *sorted(measures)] if name not in frame]
    if lost:
        raise ClaimError(
            f"the frame has no column {', '.join(map(repr, lost))}, which the design declares; it has "
            f"{list(frame.columns)}: judge the measure and arms that were declared, or declare a new claim"
        )
    runs = frame[[*keys, "seed", *sorted(measures)]].reset_index(drop=True)
    for name, declared in keys.items():
        runs[name] = _as_declared(name, runs[name], declared)
    runs["_diverged"] = _diverged(frame)
    if design.measure in DIVERGED and not set(DIVERGED) & set(frame.columns):
        raise ClaimError(f"the frame has no column 'diverged' or 'diverged_at': measure {design.measure!r} needs one")
    for name in sorted(measures):
        runs[name] = _finite(runs, name)
    twice = runs[runs.duplicated([*keys, "seed"])]
    if len(twice):
        raise ClaimError(
            f"one row is one run, but {len(twice)} rows repeat another, such as "
            f"{_words(twice.iloc[0][[*keys, 'seed']])}: keep the last step of each run"
        )
    return runs


def _finite(runs, name):
    try:
        values = runs[name].astype(float)
    except (TypeError, ValueError):
        raise ClaimError(f"the column {name!r} must hold numbers, got {runs[name].dtype}") from None
    bad = ~np.isfinite(values) & ~runs["_diverged"]
    if bad.any():
        row = runs[bad].iloc[0].drop(["_diverged"])
        raise ClaimError(
            f"{name} must be finite in a run that did not diverge; it is not in {int(bad.sum())}, such as "
            f"{_words(row)}: mark them in a column 'diverged', and declare what they count as"
        )
    return values


def _choose(design, runs, setting, arm):
    if not design.tune:
        return {}
    rows = _where(runs, {**setting, design.axis: arm})
    rows = rows[rows["seed"].isin(design.tuning_seeds)]
    sign = 1 if design.tune_for == "min" else -1
    if design.tune_by == design.measure and design.diverged is not None:
        score = rows[design.tune_by].mask(rows["_diverged"], design.diverged)
    else:
        score = rows[design.tune_by].mask(rows["_diverged"], sign * math.inf)
    best, lowest = None, math.inf
    for point in product(design.tune):
        here = _where(rows, point)
        missing = sorted(set(design.tuning_seeds) - set(here["seed"]))
        if missing:
            where = _words({**setting, design.axis: arm, **point})
            raise ClaimError(f"the grid is run with every tuning seed; {where} lacks {missing}: run them")
        mean = sign * float(score[here.index].mean())
        if mean < lowest:
            best, lowest = point, mean
    if best is None:
        where = _words({**setting, design.axis: arm})
        raise ClaimError(
            f"with {where} a run diverged at every point of the grid: widen the grid of {list(design.tune)}"
        )
    return best


def _score(design, runs, setting, arm):
    chosen = _choose(design, runs, setting, arm)
    rows = _where(runs, {**setting, design.axis: arm, **chosen})
    rows = rows[rows["seed"].isin(design.seeds)].set_index("seed").sort_index()
    where = _words({**setting, design.axis: arm, **chosen})
    missing = sorted(set(design.seeds) - set(rows.index))
    if missing:
        raise ClaimError(f"{where} lacks the seeds {missing}, which the design declares: run them")
    count = int(rows["_diverged"].sum())
    if design.measure in DIVERGED:
        values = rows["_diverged"].astype(float)
    elif count and design.diverged is None:
        seeds = list(rows.index[rows["_diverged"]])
        raise ClaimError(
            f"{where}: the runs with seeds {seeds} diverged, and the design does not say what they count as: "
            "declare diverged=…, before the run"
        )
    else:
        values = rows[design.measure].mask(rows["_diverged"], design.diverged)
    edge = tuple(name for name, value in chosen.items() if _at_edge(value, design.tune[name]))
    return Scores(values, chosen, edge, count)


def _as_declared(name, column, declared):
    """The column with each value replaced by the declared one that it stands for (0.01 in float32, say)."""
    known = {}
    for value in column.unique():
        same = [d for d in declared if _same(value, d)]
        if same:
            known[value] = same[0]
    _refuse(name, [value for value in column.unique() if value not in known], declared)
    return pd.Series([known[value] for value in column], index=column.index, dtype=object)


def _same(value, declared):
    numbers = [isinstance(v, Real | np.number) and not isinstance(v, bool | np.bool_) for v in (value, declared)]
    if all(numbers):
        return bool(np.isclose(value, declared, rtol=1e-6, atol=0))
    return not any(numbers) and value == declared


def _refuse(name, others, declared):
    if others:
        raise ClaimError(
            f"the frame has {name} {', '.join(map(str, others))}, which the design does not declare "
            f"({', '.join(map(str, declared))}): leave them out, or declare a new claim"
        )


def _diverged(frame):
    if "diverged" in frame:
        values = frame["diverged"].reset_index(drop=True)
        if values.isna().any() or not values.isin([False, True]).all():
            raise ClaimError("the column 'diverged' holds true or false; give the step in 'diverged_at' instead")
        return values.astype(bool)
    if "diverged_at" in frame:
        return frame["diverged_at"].reset_index(drop=True).notna()
    return pd.Series(False, index=range(len(frame)))


def _where(runs, point):
    keep = pd.Series(True, index=runs.index)
    for name, value in point.items():
        keep &= runs[name] == value
    return runs[keep]


def _words(point):
    return ", ".join(f"{name} {value}" for name, value in dict(point).items())


def _at_edge(value, grid):
    return len(grid) > 1 and is_number(value) and value in (min(grid), max(grid))
