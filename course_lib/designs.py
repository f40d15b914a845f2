"""The design of a claim: what is compared with what, how, and by which runs. Fixed before the run."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from types import MappingProxyType

import numpy as np

from course_lib.names import check_name

__all__ = ["DIVERGED", "MIN_SEEDS", "ClaimError", "Design", "is_number", "product"]

MIN_SEEDS = 16
DIVERGED = ("diverged", "diverged_at")


class ClaimError(ValueError):
    """A claim that cannot be tested, or a frame that does not fit its declaration; says what to do."""


@dataclass(frozen=True)
class Design:
    """What a claim compares, and how.

    task: the data and the network, in words.
    axis, arms: a column of the frame and its values, at least two. Each arm is claimed against the next one.
    measure, direction: a column of the frame, or "diverged" for the share of runs that diverge; the earlier arm's
        value is claimed to be "more" or "less" than the later one's, or the "same".
    smallest, unit: the smallest effect worth having, > 0, and its unit.
    seeds: of the measured runs, the same for all arms; at least 16, unless exploratory, which the card then says.
    tune: hyperparameter → grid. Each arm, in each condition, takes the point with the lowest (tune_for="min", for a
        loss) or highest ("max", for an accuracy) mean of the column tune_by (default: the measure) over tuning_seeds,
        which are not measured.
    conditions: column → values; the claim is tested in each combination.
    diverged: what the measure of a run that diverged counts as. None: such a run is an error, unless it only tunes;
        then it counts as worse than any that did not diverge, as it does where tune_by is not the measure.
    Raises: ClaimError for a design that cannot test anything.
    """

    task: str
    axis: str
    arms: Sequence
    measure: str
    direction: str
    smallest: float
    unit: str
    seeds: Sequence[int]
    tuning_seeds: Sequence[int] = ()
    tune: Mapping[str, Sequence] = field(default_factory=dict)
    tune_by: str | None = None
    tune_for: str | None = None
    conditions: Mapping[str, Sequence] = field(default_factory=dict)
    diverged: float | None = None
    exploratory: bool = False

    def __post_init__(self):
        take = object.__setattr__
        for name in ("arms", "seeds", "tuning_seeds"):
            take(self, name, _values(name, getattr(self, name)))
        for name in ("tune", "conditions"):
            grid = getattr(self, name)
            if not isinstance(grid, Mapping):
                raise ClaimError(f"{name} maps a column to its values, such as {{'lr': (0.1, 1)}}, got {grid!r}")
            take(self, name, MappingProxyType({key: _values(f"{name}[{key!r}]", grid[key]) for key in grid}))
        if self.tune_by is None and self.tune:
            take(self, "tune_by", self.measure)
        self._check()

    def _check(self):
        for name in ("task", "axis", "measure"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise ClaimError(f"a design says its {name} in words, got {getattr(self, name)!r}")
        if not isinstance(self.unit, str):
            raise ClaimError(f"a design says its unit, '' where there is none, got {self.unit!r}")
        try:
            check_name("direction", self.direction, ("more", "less", "same"))
            if self.tune:
                check_name("tune_for", self.tune_for, ("min", "max"))
        except ValueError as error:
            raise ClaimError(str(error)) from None
        if not is_number(self.smallest) or not 0 < self.smallest < math.inf:
            raise ClaimError(
                f"a design states the smallest effect worth having, above 0, got smallest={self.smallest!r}: "
                "choose it before the run"
            )
        if self.diverged is not None and not (is_number(self.diverged) and math.isfinite(self.diverged)):
            raise ClaimError(f"diverged must be a finite number or None, got {self.diverged!r}")
        if self.diverged is not None and self.measure in DIVERGED:
            raise ClaimError(f"measure={self.measure!r} counts diverged runs itself: leave diverged out")
        if len(self.arms) < 2:
            raise ClaimError(f"a claim compares at least two arms, got {list(self.arms)}: add what it is compared with")
        self._check_seeds()
        columns = [self.axis, "seed", *self.conditions, *self.tune, self.measure, *DIVERGED]
        twice = sorted({name for name in columns if columns.count(name) > 1 and name not in DIVERGED})
        if twice:
            raise ClaimError(f"a column has one part in a design; {twice} has two: rename one")

    def _check_seeds(self):
        for name in ("seeds", "tuning_seeds"):
            bad = [seed for seed in getattr(self, name) if isinstance(seed, bool) or not isinstance(seed, int)]
            if bad:
                raise ClaimError(f"{name} are whole numbers, got {bad}")
        least = 2 if self.exploratory else MIN_SEEDS
        if len(self.seeds) < least:
            remedy = "add seeds" if self.exploratory else "add seeds, or say exploratory=True"
            raise ClaimError(f"a claim is measured with at least {least} seeds, got {len(self.seeds)}: {remedy}")
        both = sorted(set(self.seeds) & set(self.tuning_seeds))
        if both:
            raise ClaimError(f"a seed that tunes is not measured, but {both} are in both: keep them apart")
        if bool(self.tune) != bool(self.tuning_seeds):
            raise ClaimError(
                f"tune and tuning_seeds go together, got tune={dict(self.tune)} and tuning_seeds="
                f"{list(self.tuning_seeds)}: give both or neither"
            )
        if self.tune_by in DIVERGED:
            raise ClaimError(
                f"hyperparameters are tuned by a score, got tune_by={self.tune_by!r}: give tune_by='val_loss'"
            )
        if not self.tune and (self.tune_by or self.tune_for):
            raise ClaimError("tune_by and tune_for need a grid: give tune={'lr': (…)} and tuning_seeds")

    def as_dict(self) -> dict:
        """Return the design as plain values, for JSON."""
        plain = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Mapping):
                value = {key: list(grid) for key, grid in value.items()}
            plain[entry.name] = list(value) if isinstance(value, tuple) else value
        return plain

    @property
    def pairs(self) -> list:
        """The comparisons in one condition: each arm with the next."""
        return list(itertools.pairwise(self.arms))

    @property
    def settings(self) -> list:
        """All combinations of the conditions, as dicts; one empty dict if there are none."""
        return product(self.conditions)


def _values(name, given):
    if isinstance(given, str) or not isinstance(given, Sequence | range | np.ndarray):
        raise ClaimError(f"{name} must be a list or a range, got {given!r}")
    values = tuple(_plain(name, value) for value in given)
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise ClaimError(f"{name} names each value once; {', '.join(twice)} comes twice")
    if not values and name not in ("seeds", "tuning_seeds", "arms"):
        raise ClaimError(f"{name} is empty: give at least one value")
    return values


def _plain(name, value):
    """The value as JSON knows it."""
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, str | Integral | Real) or (isinstance(value, float) and not math.isfinite(value)):
        raise ClaimError(f"{name} holds text, finite numbers and truth values, got {value!r}")
    return value


def is_number(value: object) -> bool:
    """Return whether a value is a number that has an order; truth values have none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def product(grid: Mapping) -> list[dict]:
    """Return every combination of a grid, name → values, in the order of its values."""
    return [dict(zip(grid, point, strict=True)) for point in itertools.product(*grid.values())]
