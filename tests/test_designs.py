"""Designs: every one that cannot test anything is refused, and none changes after it is made."""

import dataclasses
import json
import math

import numpy as np
import pytest

from course_lib.designs import ClaimError, Design

PLAIN = {
    "task": "digits, tanh MLP",
    "axis": "scheme",
    "arms": ("he", "xavier"),
    "measure": "val_loss",
    "direction": "less",
    "smallest": 0.02,
    "unit": "nats",
    "seeds": range(4, 20),
}
TUNED = {**PLAIN, "tuning_seeds": range(4), "tune": {"lr": (0.01, 0.1)}, "tune_for": "min"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"smallest": 0}, "states the smallest effect worth having, above 0, got smallest=0"),
        ({"smallest": -0.1}, "smallest=-0.1"),
        ({"smallest": math.nan}, "smallest=nan"),
        ({"smallest": math.inf}, "smallest=inf"),
        ({"smallest": None}, "smallest=None"),
        ({"smallest": True}, "smallest=True"),
        ({"direction": "lower"}, "unknown direction 'lower'"),
        ({"arms": ("he",)}, r"at least two arms, got \['he'\]"),
        ({"arms": "he"}, "arms must be a list or a range, got 'he'"),
        ({"arms": ("he", "he")}, "arms names each value once; he comes twice"),
        ({"arms": ("he", None)}, "arms holds text, finite numbers and truth values, got None"),
        ({"arms": (1, math.nan)}, "got nan"),
        ({"seeds": range(15)}, "at least 16 seeds, got 15: add seeds, or say exploratory=True"),
        ({"seeds": (1,), "exploratory": True}, "at least 2 seeds, got 1: add seeds"),
        ({"seeds": ()}, "at least 16 seeds, got 0"),
        ({"seeds": 16}, "seeds must be a list or a range, got 16"),
        ({"seeds": [*range(15), 3, 16]}, "seeds names each value once; 3 comes twice"),
        ({"seeds": [*range(16), 1.5]}, r"seeds are whole numbers, got \[1.5\]"),
        ({"seeds": [*range(1, 17), False]}, r"seeds are whole numbers, got \[False\]"),
        ({**TUNED, "tuning_seeds": range(3, 6)}, r"\[4, 5\] are in both"),
        ({**TUNED, "tuning_seeds": ()}, "tune and tuning_seeds go together"),
        ({**TUNED, "tune": {}, "tune_for": None}, "tune and tuning_seeds go together"),
        ({**TUNED, "tune": {"lr": ()}}, r"tune\['lr'\] is empty"),
        ({**TUNED, "tune": {"lr": (0.1, 0.1)}}, r"tune\['lr'\] names each value once; 0.1 comes twice"),
        ({**TUNED, "tune_for": None}, "unknown tune_for None"),
        ({**TUNED, "tune_for": "lowest"}, "unknown tune_for 'lowest'"),
        ({**TUNED, "tune_by": "diverged"}, "tuned by a score, got tune_by='diverged'"),
        ({**TUNED, "tune": ["lr"]}, r"tune maps a column to its values, .* got \['lr'\]"),
        ({"tune_by": "val_loss"}, "tune_by and tune_for need a grid"),
        ({"tune_for": "min"}, "tune_by and tune_for need a grid"),
        ({"conditions": {"depth": ()}}, r"conditions\['depth'\] is empty"),
        ({"conditions": {"scheme": (1, 2)}}, r"\['scheme'\] has two"),
        ({"conditions": {"seed": (1, 2)}}, r"\['seed'\] has two"),
        ({"axis": "seed"}, r"\['seed'\] has two"),
        ({"measure": "scheme"}, r"\['scheme'\] has two"),
        ({**TUNED, "conditions": {"lr": (1, 2)}}, r"\['lr'\] has two"),
        ({"diverged": math.nan}, "diverged must be a finite number or None, got nan"),
        ({"diverged": math.inf}, "diverged must be a finite number or None, got inf"),
        ({"diverged": "2.3"}, "diverged must be a finite number or None, got '2.3'"),
        ({"measure": "diverged", "diverged": 1}, "counts diverged runs itself"),
        ({"task": ""}, "says its task in words, got ''"),
        ({"axis": None}, "says its axis in words, got None"),
        ({"measure": "  "}, "says its measure in words"),
        ({"unit": None}, "says its unit"),
    ],
)
def test_a_design_that_tests_nothing(change, says):
    with pytest.raises(ClaimError, match=says):
        Design(**{**PLAIN, **change})


def test_a_sound_design():
    # catches: a rule that refuses what is right
    design = Design(**{**TUNED, "conditions": {"depth": (5, 20), "width": (8,)}, "arms": ("a", "b", "c")})
    assert design.pairs == [("a", "b"), ("b", "c")]
    assert design.settings == [{"depth": 5, "width": 8}, {"depth": 20, "width": 8}]
    assert Design(**PLAIN).settings == [{}]
    assert design.tune_by == "val_loss"
    assert Design(**{**PLAIN, "seeds": (0, 1), "exploratory": True}).seeds == (0, 1)
    Design(**{**PLAIN, "measure": "diverged", "unit": ""})
    Design(**{**PLAIN, "arms": (True, False)})


def test_a_design_does_not_change():
    """Catches: a grid or a list that the chapter changes after the declaration, and the hash with it."""
    grid, arms = {"lr": [0.01, 0.1]}, ["he", "xavier"]
    design = Design(**{**TUNED, "tune": grid, "arms": arms})
    before = json.dumps(design.as_dict())
    grid["lr"].append(1.0)
    arms.append("zeros")
    assert json.dumps(design.as_dict()) == before
    with pytest.raises(TypeError):
        design.tune["lr"] = (1,)
    with pytest.raises(dataclasses.FrozenInstanceError):
        design.smallest = 0.001


def test_numbers_of_numpy_are_plain():
    # catches: a hash that differs between range(16) and np.arange(16), or JSON that cannot be written
    one = Design(**{**TUNED, "seeds": np.arange(4, 20), "tune": {"lr": np.array([0.01, 0.1])}})
    assert json.dumps(one.as_dict()) == json.dumps(Design(**TUNED).as_dict())
