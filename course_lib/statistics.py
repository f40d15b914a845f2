"""What a difference between two arms is worth: paired differences, intervals, power, verdicts.

SciPy computes; this module owns the rule. An effect is oriented before it comes here, so that positive is
what the claim says.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats

from course_lib.names import check_name

__all__ = [
    "VERDICTS",
    "Finding",
    "Interval",
    "close_call",
    "combine",
    "combine_links",
    "holm",
    "interval",
    "p_value",
    "paired_differences",
    "power",
    "verdict",
]

VERDICTS = ("holds", "fails", "undecided", "depends")


class Interval(NamedTuple):
    """An estimate between its bounds, in the unit of the measure."""

    estimate: float
    low: float
    high: float


class Finding(NamedTuple):
    """One of VERDICTS, and a sentence that says why."""

    verdict: str
    reason: str


def paired_differences(a: Mapping | pd.Series, b: Mapping | pd.Series) -> pd.Series:
    """Return a − b, seed by seed, sorted by seed.

    a, b: seed → score of the two arms, with the same seeds in any order.
    Raises: ValueError if the seeds differ, if one comes twice, if there are fewer than 2, or if a score is
    NaN or infinite.
    """
    a, b = pd.Series(a, dtype=float), pd.Series(b, dtype=float)
    for name, arm in (("first", a), ("second", b)):
        if not arm.index.is_unique:
            twice = sorted(set(arm.index[arm.index.duplicated()]))
            raise ValueError(f"each seed has one score; the {name} arm has several for {twice}: keep one")
        bad = sorted(arm.index[~np.isfinite(arm)])
        if bad:
            raise ValueError(
                f"a score must be finite; the {name} arm's is not for the seeds {bad}: say what they count as"
            )
    if set(a.index) != set(b.index):
        raise ValueError(
            "paired arms have the same seeds; only the first has "
            f"{sorted(set(a.index) - set(b.index))}, only the second {sorted(set(b.index) - set(a.index))}: run them"
        )
    if len(a) < 2:
        raise ValueError(f"a comparison needs at least 2 seeds, got {len(a)}: run more")
    return (a - b).sort_index()


def interval(differences: Sequence[float], confidence: float = 0.95, method: str = "t") -> Interval:
    """Return the mean and a confidence interval for it.

    t: mean ± t(1 − (1 − confidence)/2, n − 1) · s/√n.   bca: bias-corrected and accelerated bootstrap.
    differences: (n,), n ≥ 2.   confidence: in (0, 1).

    The t interval is the rule of the book. Simulated with n = 16 at 95 %, it covers the true mean in 95 to
    97 % of draws from normal, t₃ and t₅ distributions, from a normal one with outliers, and for
    differences of two exponentials or lognormals; BCa in 85 to 92 % of the same. If the differences
    themselves are skewed, both cover too seldom (exponential: 91 and 90 %). BCa is for samples of hundreds.
    Differences that are all equal give an interval of width zero.
    Source: Student 1908; Efron 1987.   Chapter: every claim.   Checked against: the formula; coverage by simulation.
    """
    values = _values(differences)
    _check_confidence(confidence)
    mean = float(values.mean())
    if np.ptp(values) == 0:  # BCa is 0/0 here
        return Interval(float(values[0]), float(values[0]), float(values[0]))
    if method == "t":
        low, high = stats.t.interval(confidence, len(values) - 1, mean, stats.sem(values))
    elif method == "bca":
        low, high = stats.bootstrap(
            (values,), np.mean, confidence_level=confidence, method="BCa", rng=np.random.default_rng(0)
        ).confidence_interval
    else:
        raise ValueError(f"method must be 't' or 'bca', got {method!r}")
    return Interval(mean, float(low), float(high))


def power(smallest: float, standard_deviation: float, n: int, confidence: float = 0.95) -> float:
    """Return the chance that the t interval excludes zero when the true effect is `smallest`.

    P(|T| > c), c = t(1 − (1 − confidence)/2, n − 1), T noncentral t with n − 1 degrees and noncentrality
    δ = √n · smallest/σ. Given S = s/σ this is Φ(δ − cS) + Φ(−δ − cS); the mean over S, whose (n − 1)S² is χ², is
    taken by quadrature, to 1e-6: scipy.stats.nct gives NaN in its tails.
    smallest > 0 and standard_deviation ≥ 0, of the differences, in one unit; n ≥ 2.
    Source: Cohen 1988, chapter 2.   Checked against: scipy.stats.nct where it converges; simulation.
    """
    if not (smallest > 0 and standard_deviation >= 0 and n >= 2):
        raise ValueError(
            f"power needs smallest > 0, standard_deviation ≥ 0 and n ≥ 2, got {smallest}, {standard_deviation}, {n}"
        )
    _check_confidence(confidence)
    if standard_deviation == 0:
        return 1.0
    delta = math.sqrt(n) * smallest / standard_deviation
    nodes, weights = np.polynomial.legendre.leggauss(200)
    s = np.sqrt(stats.chi2.ppf((nodes + 1) / 2, n - 1) / (n - 1))
    c = stats.t.ppf((1 + confidence) / 2, n - 1)
    return float(weights / 2 @ (special.ndtr(delta - c * s) + special.ndtr(-delta - c * s)))


def p_value(differences: Sequence[float], smallest: float, direction: str) -> float:
    """Return the t test's p against the claim: how likely so favourable a t is when the claim just misses.

    more, less: one-sided, the true effect being `smallest`.   same: the larger of the two one-sided p with the
    true effect −smallest and smallest (Schuirmann 1987).
    A 95 % interval that makes the claim hold goes with p < 0.025.
    """
    _check_rule(smallest, direction)
    values = _values(differences)
    if direction == "same":
        return max(_one_sided(values + smallest), _one_sided(smallest - values))
    return _one_sided(values - smallest)


def _one_sided(values):
    """P(T ≥ t) for the hypothesis that the mean is at most zero."""
    if np.ptp(values) == 0:
        return 0.0 if values[0] > 0 else 1.0
    return float(
        stats.t.sf(values.mean() / stats.sem(values), len(values) - 1)
    )  # ttest_1samp warns of near-equal values


def verdict(effect: Interval, smallest: float, direction: str, unit: str = "") -> Finding:
    """Return the verdict that an interval gives, and why.

    more, less (the effect is oriented: positive is what the claim says): *holds* if the whole interval lies above
    `smallest`; *undecided* if it covers zero or `smallest`; *fails* if it lies wholly below zero, or wholly
    between the two, where an effect is too small to be worth having.
    same: *holds* if the interval lies wholly inside (−smallest, smallest), *fails* if wholly outside, else *undecided*.
    smallest: the smallest effect worth having, > 0, in `unit`, stated before the run.
    """
    _check_rule(smallest, direction)
    _, low, high = effect
    if not low <= high:  # NaN too
        raise ValueError(f"an interval has low ≤ high, got {low} and {high}: no score may be NaN")
    size = f"{smallest:g} {unit}".rstrip()
    if direction == "same":
        if -smallest < low and high < smallest:
            return Finding("holds", f"the whole interval lies within {size} of zero")
        if smallest < low or high < -smallest:
            return Finding("fails", f"the whole interval lies more than {size} from zero")
        return Finding("undecided", f"{size}, the smallest difference that counts, lies in the interval")
    if low > smallest:
        return Finding("holds", f"the whole interval lies above {size}, the smallest effect worth having")
    if high < 0:
        return Finding("fails", "the whole interval lies on the other side of zero")
    if low > 0 and high < smallest:
        return Finding("fails", f"there is an effect, but it is smaller than {size}, the smallest worth having")
    if low > 0:
        return Finding("undecided", f"there is an effect, but it may be smaller than {size}, the smallest worth having")
    if high < smallest:
        return Finding("undecided", f"zero lies in the interval; an effect as large as {size} is excluded")
    return Finding("undecided", f"both zero and {size}, the smallest effect worth having, lie in the interval")


def close_call(effect: Interval, smallest: float, direction: str) -> bool:
    """Return whether the verdict would be another if an end of the interval moved by a tenth of its width.

    Rounding differs between processors, and training enlarges it: such a verdict may differ on another machine.
    """
    estimate, low, high = effect
    moves = [sign * (high - low) / 10 for sign in (-1, 0, 1)]
    ends = [(low + a, high + b) for a in moves for b in moves]
    return len({verdict(Interval(estimate, *end), smallest, direction).verdict for end in ends}) > 1


def combine(verdicts: Sequence[str]) -> str:
    """Return the verdict over several conditions.

    All hold → holds; all fail → fails; some hold and some fail → depends; else undecided.
    """
    found = _known_verdicts(verdicts)
    if found >= {"holds", "fails"}:
        return "depends"
    return found.pop() if len(found) == 1 else "undecided"


def combine_links(verdicts: Sequence[str]) -> str:
    """Return the verdict on a ranking from those on its links, such as A over B and B over C: all must hold.

    One that fails → fails; all hold → holds; else undecided.
    """
    found = _known_verdicts(verdicts)
    return "fails" if "fails" in found else "holds" if found == {"holds"} else "undecided"


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return p-values adjusted for their number: the chance of even one false rejection is then below the level.

    p̃ of the i-th smallest of k is the largest of (k − j + 1) p₍ⱼ₎ over j ≤ i, at most 1.
    p_values: (k,), in [0, 1].   Source: Holm 1979.
    """
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values are a list of numbers from 0 to 1, got {p_values}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def _values(differences):
    values = np.asarray(differences, dtype=float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"needs a list of at least 2 finite differences, got {differences!r}")
    return values


def _check_confidence(confidence):
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}: 0.95 is the rule")


def _check_rule(smallest, direction):
    check_name("direction", direction, ("more", "less", "same"))
    if not 0 < smallest < math.inf:
        raise ValueError(f"the smallest effect worth having must be above 0, got {smallest}: state it before the run")


def _known_verdicts(verdicts):
    for word in verdicts:
        check_name("verdict", word, VERDICTS[:3])
    if not verdicts:
        raise ValueError("there is no verdict to combine: give at least one")
    return set(verdicts)
