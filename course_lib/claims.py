"""Claims: one sentence, its source and its design, fixed before the run; and a verdict by one rule for all.

A claim is declared, then judged on a frame of runs. The declaration and its hash are in the verdict's record,
and a frame that holds other arms, seeds, grids or measures than declared is refused.

    claim = Claim("he-for-relu", "With ReLU, He's initialisation …", "lecture A", Design(…))
    verdict = claim.judge(frame)   # shows itself as a card
    print(verdict.record)          # one line, for the ledger
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from course_lib import cards, statistics, trials
from course_lib.designs import ClaimError, Design

__all__ = ["Claim", "ClaimError", "Comparison", "Design", "Verdict", "fingerprint", "table"]

LEVEL = 0.05  # what all intervals of one claim may miss together
IDENTIFIER = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def fingerprint(declaration: dict) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a declaration as canonical JSON."""
    canonical = json.dumps(declaration, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Claim:
    """An assertion and how it is tested, before it is tested.

    id: lower-case words with hyphens, the same everywhere.   sentence: what is claimed.   source: who says so.
    Raises: ClaimError if one is missing.
    """

    id: str
    sentence: str
    source: str
    design: Design

    def __post_init__(self):
        if not isinstance(self.id, str) or not IDENTIFIER.fullmatch(self.id):
            raise ClaimError(f"a claim's id is lower-case words with hyphens, such as he-for-relu, got {self.id!r}")
        for name in ("sentence", "source"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise ClaimError(f"claim {self.id} needs a {name}, got {getattr(self, name)!r}")
        if not isinstance(self.design, Design):
            raise ClaimError(f"claim {self.id} needs a Design, got {type(self.design).__name__}")

    @property
    def declaration(self) -> dict:
        """All that is fixed before the run, as plain values."""
        return {"id": self.id, "sentence": self.sentence, "source": self.source, "design": self.design.as_dict()}

    @property
    def hash(self) -> str:
        """What changes when the declaration changes."""
        return fingerprint(self.declaration)

    def __repr__(self):
        return cards.declaration_text(self.declaration, self.hash)

    def _repr_html_(self):
        return cards.declaration_card(self.declaration, self.hash)

    def tuned(self, frame: pd.DataFrame) -> list[dict]:
        """Return the hyperparameters that the tuning runs in `frame` choose, a dict per condition and arm."""
        return trials.tuned(self.design, frame)

    def run(self, train) -> pd.DataFrame:
        """Tune, then measure: return the frame of all runs that `judge` needs, at the least cost.

        train: (seeds, grid) → a frame with a row for each seed and point of the grid (name → values). It is called with
        the tuning seeds over the whole grid, then with the measured ones at the point that each arm has chosen.
        """
        design = self.design
        grid = {**design.conditions, design.axis: design.arms}
        if not design.tune:
            return train(design.seeds, grid)
        runs = [train(design.tuning_seeds, {**grid, **design.tune})]
        chosen = [{name: (value,) for name, value in point.items()} for point in self.tuned(runs[0])]
        return pd.concat([*runs, *(train(design.seeds, point) for point in chosen)], ignore_index=True)

    def judge(self, frame: pd.DataFrame) -> "Verdict":
        """Return the verdict on a frame with one row per run: `course_lib.trials` says which columns it has.

        The k comparisons of a claim have intervals at confidence 1 − 0.05/k each.
        Raises: ClaimError if the frame is not what the design declares.
        """
        settings = self.design.settings
        confidence = 1 - LEVEL / (len(settings) * len(self.design.pairs))
        rows = [
            [_compare(self.design, setting, earlier, later, scores, confidence) for earlier, later in self.design.pairs]
            for setting, scores in zip(settings, trials.scores(self.design, frame), strict=True)
        ]
        found = [statistics.combine_links([row.verdict for row in links]) for links in rows]
        return Verdict(self, statistics.combine(found), tuple(row for links in rows for row in links))


@dataclass(frozen=True)
class Comparison:
    """An arm against the next one in one condition. The effect is positive where the claim says so."""

    arms: tuple
    condition: dict
    verdict: str
    reason: str
    close: bool  # whether another machine may come to another verdict
    effect: statistics.Interval
    confidence: float
    power: float
    p: float
    chosen: tuple  # of the two arms: hyperparameter → value
    edge: tuple
    diverged: tuple
    differences: dict  # by seed


def _compare(design, condition, earlier, later, scores, confidence):
    pair = scores[earlier], scores[later]
    differences = statistics.paired_differences(pair[0].values, pair[1].values)
    if design.direction == "less":
        differences = -differences
    effect = statistics.interval(differences, confidence)
    verdict, reason = statistics.verdict(effect, design.smallest, design.direction, design.unit)
    return Comparison(
        arms=(earlier, later),
        condition=condition,
        verdict=verdict,
        reason=reason,
        close=statistics.close_call(effect, design.smallest, design.direction),
        effect=effect,
        confidence=confidence,
        power=statistics.power(design.smallest, differences.std(), len(differences), confidence),
        p=statistics.p_value(differences, design.smallest, design.direction),
        chosen=tuple(arm.chosen for arm in pair),
        edge=tuple(arm.edge for arm in pair),
        diverged=tuple(arm.diverged for arm in pair),
        differences=differences.to_dict(),
    )


def _short(value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Verdict:
    """A claim and what the runs say. As the last value of a cell it shows itself as a card."""

    claim: Claim
    verdict: str
    comparisons: tuple[Comparison, ...]

    @cached_property
    def record(self) -> str:
        """One line of JSON: the declaration with its hash, the verdict, each comparison; 4 significant digits.

        What may differ in the last digits from machine to machine is under "measured"; a verdict that may differ
        for that reason has "close": true behind it.
        """
        claim = self.claim
        close = {"close": True} if any(row.close for row in self.comparisons) else {}
        record = {"claim": claim.id, "verdict": self.verdict, **close}
        record |= {"hash": claim.hash, "declaration": claim.declaration}
        record["comparisons"] = [
            {
                "arms": list(row.arms),
                "condition": row.condition,
                "verdict": row.verdict,
                **({"close": True} if row.close else {}),
                "confidence": _rounded(row.confidence),
                "seeds": len(row.differences),
                "measured": {
                    "effect": _rounded(row.effect.estimate),
                    "interval": [_rounded(row.effect.low), _rounded(row.effect.high)],
                    "power": _rounded(row.power),
                    "p": _rounded(row.p),
                    "chosen": [
                        ", ".join(f"{name} {_short(value)}" for name, value in arm.items()) for arm in row.chosen
                    ],
                    "edge": [", ".join(arm) for arm in row.edge],
                    "diverged": list(row.diverged),
                    "reason": row.reason,
                },
            }
            for row in self.comparisons
        ]
        return json.dumps(record, ensure_ascii=False)

    def __repr__(self):
        return cards.verdict_text(json.loads(self.record))

    def _repr_html_(self):
        return cards.verdict_card(json.loads(self.record), [list(row.differences.values()) for row in self.comparisons])


def _rounded(number):
    return float(f"{number:.4g}")


def table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Return the claims of a chapter, one row each.

    Index: claim.   Columns: verdict, effect with its interval (for several comparisons the range of effects), seeds,
    and "p (Holm)": against the claim's being just missed, adjusted for the number of claims in the table. A claim
    that holds on its own still holds beside the others where that is below 0.025.
    """
    records = [json.loads(verdict.record) for verdict in verdicts]
    p = [max(row.p for row in verdict.comparisons) for verdict in verdicts]
    return pd.DataFrame(
        {
            "claim": [record["claim"] for record in records],
            "verdict": [record["verdict"] for record in records],
            "effect": [cards.effect(record) for record in records],
            "seeds": [record["comparisons"][0]["seeds"] for record in records],
            "p (Holm)": [f"{value:.2g}" for value in statistics.holm(p)],
        }
    ).set_index("claim")
