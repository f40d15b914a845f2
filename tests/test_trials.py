"""From a frame to scores: the tuning is the same for every arm, and what was not declared is refused."""

import math

import numpy as np
import pandas as pd
import pytest

from course_lib.designs import ClaimError, Design
from course_lib.trials import scores, tuned

SEEDS, TUNING = range(4, 20), range(4)
BEST = {"he": 0.03, "xavier": 0.01}


def design(**change):
    settings = {
        "task": "digits",
        "axis": "scheme",
        "arms": ("he", "xavier"),
        "measure": "loss",
        "direction": "less",
        "smallest": 0.1,
        "unit": "nats",
        "seeds": SEEDS,
        "tuning_seeds": TUNING,
        "tune": {"lr": (0.01, 0.03, 0.1)},
        "tune_for": "min",
    }
    return Design(**{**settings, **change})


def loss(arm, lr, seed):
    """The best rate of each arm; the seeds that tune all say another thing than those that are measured."""
    turned = 1 if seed in TUNING else -1
    return 100 * (arm == "xavier") + seed + turned * abs(math.log(lr / BEST[arm]))


def frame(lrs=(0.01, 0.03, 0.1), arms=("he", "xavier")):
    return pd.DataFrame(
        [
            {"scheme": arm, "lr": lr, "seed": seed, "loss": loss(arm, lr, seed), "note": "x"}
            for arm in arms
            for lr in lrs
            for seed in (*TUNING, *SEEDS)
        ]
    )


def test_tuned_on_the_tuning_seeds_and_measured_on_the_others():
    """Catches: a rate chosen on the measured seeds, one rate for all arms, tuning seeds among the scores."""
    (found,) = scores(design(), frame().sample(frac=1, random_state=0))
    for arm in ("he", "xavier"):
        assert found[arm].chosen == {"lr": BEST[arm]}
        assert found[arm].values.to_dict() == {seed: 100 * (arm == "xavier") + seed for seed in SEEDS}
    assert (found["he"].edge, found["xavier"].edge) == ((), ("lr",))
    assert tuned(design(), frame()) == [{"scheme": arm, "lr": rate} for arm, rate in BEST.items()]


def test_highest_where_so_declared():
    higher = frame()
    higher["accuracy"] = -higher["loss"]
    (found,) = scores(design(tune_by="accuracy", tune_for="max"), higher)
    assert {arm: found[arm].chosen["lr"] for arm in found} == BEST
    assert found["he"].values[4] == 4


def test_measured_runs_at_the_chosen_rates_are_enough():
    """Catches: a rule that asks for 20 runs where 4 + 16 are needed; and tuning runs that ask for measured ones."""
    whole = frame()
    tuning = whole[whole.seed.isin(TUNING)]
    chosen = tuned(design(), tuning)
    best = whole.lr == whole.scheme.map({row["scheme"]: row["lr"] for row in chosen})
    (found,) = scores(design(), whole[whole.seed.isin(TUNING) | best])
    assert {arm: found[arm].chosen["lr"] for arm in found} == BEST


def test_the_mean_over_tuning_seeds_decides():
    # catches: the best single run, or the median
    runs = frame()
    at = (runs.scheme == "he") & (runs.lr == 0.1)
    runs.loc[at & (runs.seed == 0), "loss"] = -1000
    (found,) = scores(design(), runs)
    assert found["he"].chosen == {"lr": 0.1}


def test_several_hyperparameters_and_conditions():
    """Catches: conditions pooled, or a grid searched along one axis only."""
    two = design(tune={"lr": (0.1, 1), "decay": (0, 1, 2)}, conditions={"depth": (2, 5), "task": ("a",)})
    rows = [
        {"scheme": arm, "depth": depth, "task": "a", "lr": lr, "decay": decay, "seed": seed}
        | {"loss": abs(decay - (depth == 5)) + abs(lr - 1) * (arm == "he") + (1 - abs(lr - 1)) * (arm != "he")}
        for arm in ("he", "xavier")
        for depth in (2, 5)
        for lr in (0.1, 1)
        for decay in (0, 1, 2)
        for seed in (*TUNING, *SEEDS)
    ]
    found = scores(two, pd.DataFrame(rows))
    assert [[found[i][arm].chosen for arm in two.arms] for i in (0, 1)] == [
        [{"lr": 1, "decay": 0}, {"lr": 0.1, "decay": 0}],
        [{"lr": 1, "decay": 1}, {"lr": 0.1, "decay": 1}],
    ]
    assert [found[i]["he"].edge for i in (0, 1)] == [("lr", "decay"), ("lr",)]


def test_numbers_that_were_rounded_on_the_way():
    """Catches: 0.01 in float32 taken for an undeclared rate; True taken for 1."""
    runs = frame()
    runs["lr"] = runs["lr"].astype(np.float32)
    (found,) = scores(design(), runs)
    assert found["he"].chosen == {"lr": 0.03}
    truths = frame()
    truths["scheme"] = truths["scheme"] == "he"
    assert scores(design(arms=(True, False)), truths)[0][True].values[4] == 4
    with pytest.raises(ClaimError, match="the frame has scheme"):
        scores(design(arms=(1, 0)), truths)


def test_the_frame_is_left_as_it_was():
    runs = frame()
    before = runs.copy()
    scores(design(), runs)
    pd.testing.assert_frame_equal(runs, before)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r.rename(columns={"loss": "val_loss"}), r"no column 'loss', which the design declares; it has \["),
        (lambda r: r.drop(columns="seed"), "no column 'seed'"),
        (lambda r: r.drop(columns=["lr", "scheme"]), "no column 'scheme', 'lr'"),
        (lambda r: r[r.scheme == "he"], "scheme xavier, lr 0.01 lacks"),
        (lambda r: r.replace({"scheme": {"xavier": "zeros"}}), r"the frame has scheme zeros, .* \(he, xavier\)"),
        (lambda r: pd.concat([r, r.assign(scheme="zeros")]), "the frame has scheme zeros"),
        (lambda r: r[r.seed != 19], r"scheme he, lr 0.03 lacks the seeds \[19\], which the design declares"),
        (lambda r: r[(r.seed != 19) | (r.scheme == "he")], r"scheme xavier, lr 0.01 lacks the seeds \[19\]"),
        (lambda r: r[r.seed != 2], r"scheme he, lr 0.01 lacks \[2\]: run them"),
        (lambda r: pd.concat([r, r.assign(seed=r.seed + 100)]), "the frame has seeds 100, 101, .* not declare"),
        (lambda r: r[r.lr != 0.1], r"scheme he, lr 0.1 lacks \[0, 1, 2, 3\]"),
        (lambda r: r[(r.lr != 0.1) | (r.scheme == "he")], "scheme xavier, lr 0.1 lacks"),
        (lambda r: pd.concat([r, r.assign(lr=0.5)]), "the frame has lr 0.5, which the design does not declare"),
        (lambda r: r.assign(lr=r.lr.replace(0.1, math.nan)), "the frame has lr nan"),
        (
            lambda r: pd.concat([r, r.head(1)]),
            "1 rows repeat another, such as scheme he, lr 0.01, seed 0: keep the last",
        ),
        (lambda r: pd.concat([r.assign(step=1), r.assign(step=2)]), "120 rows repeat another"),
        (lambda r: r.assign(loss=r.loss.where(r.seed != 7)), "loss must be finite .* in 6, such as scheme he, lr 0.01"),
        (lambda r: r.assign(loss=math.inf), "loss must be finite"),
        (lambda r: r.assign(loss="low"), "'loss' must hold numbers"),
        (lambda r: r.assign(diverged=2), "'diverged' holds true or false"),
        (lambda r: r.assign(diverged=math.nan), "'diverged' holds true or false"),
        (lambda r: r.to_dict(), "judged on a pandas DataFrame with a row per run, got dict"),
    ],
)
def test_a_frame_that_is_not_what_was_declared(change, says):
    """Catches: a verdict from other arms, other or fewer seeds, another grid or measure, or a run that counts twice."""
    with pytest.raises(ClaimError, match=says):
        scores(design(), change(frame()))


def test_undeclared_conditions():
    deep = frame().assign(depth=5)
    assert len(scores(design(conditions={"depth": (5,)}), deep)) == 1
    with pytest.raises(ClaimError, match="the frame has depth 5, which the design does not declare"):
        scores(design(conditions={"depth": (2,)}), deep)
    with pytest.raises(ClaimError, match=r"depth 2, scheme he, lr 0\.01 lacks"):
        scores(design(conditions={"depth": (5, 2)}), deep)


def test_without_tuning():
    plain = design(tune={}, tuning_seeds=(), tune_for=None)
    one = frame(lrs=(0.03,))
    (found,) = scores(plain, one[one.seed.isin(SEEDS)].drop(columns="lr"))
    assert (found["he"].chosen, found["he"].edge, found["he"].diverged) == ({}, (), 0)
    with pytest.raises(ClaimError, match="the frame has seeds 0, 1, 2, 3"):
        scores(plain, one.drop(columns="lr"))


# --- runs that diverge ------------------------------------------------------------------------------


def diverging(where, column="diverged_at"):
    runs = frame()
    lost = where(runs)
    runs["loss"] = runs["loss"].mask(lost)
    runs[column] = lost if column == "diverged" else lost.map({True: 7.0, False: math.nan})
    return runs


@pytest.mark.parametrize("column", ["diverged", "diverged_at"])
def test_a_diverged_run_counts_as_declared(column):
    """Catches: a run that is dropped, or NaN in a mean, or the last finite loss in its place."""
    runs = diverging(lambda r: (r.scheme == "he") & (r.lr == 0.03) & r.seed.isin([5, 9]), column)
    runs.loc[(runs.seed == 9) & (runs.lr == 0.03) & (runs.scheme == "he"), "loss"] = 0.001
    (found,) = scores(design(diverged=50), runs)
    assert found["he"].values[[5, 9, 4]].tolist() == [50, 50, 4]
    assert (found["he"].diverged, found["xavier"].diverged) == (2, 0)
    with pytest.raises(ClaimError, match=r"scheme he, lr 0.03: the runs with seeds \[5, 9\] diverged"):
        scores(design(), runs)


def test_a_diverged_tuning_run():
    """Catches: a rate that is chosen because its diverged run was left out of the mean."""
    runs = diverging(lambda r: (r.scheme == "he") & (r.lr == 0.03) & (r.seed == 0))
    assert scores(design(), runs)[0]["he"].chosen == {"lr": 0.01}  # counts as worse than any other
    assert scores(design(diverged=50), runs)[0]["he"].chosen == {"lr": 0.01}
    assert scores(design(diverged=0), runs)[0]["he"].chosen == {"lr": 0.03}  # as declared, and nothing else
    runs["accuracy"] = -runs["loss"]
    by_accuracy = design(tune_by="accuracy", tune_for="max", diverged=0)
    assert scores(by_accuracy, runs)[0]["he"].chosen == {"lr": 0.01}


def test_every_rate_diverges():
    runs = diverging(lambda r: (r.scheme == "he") & (r.seed == 0))
    with pytest.raises(ClaimError, match="scheme he a run diverged at every point of the grid: widen"):
        scores(design(), runs)


def test_divergence_as_the_measure():
    runs = diverging(lambda r: (r.scheme == "he") & (r.lr == 0.03) & r.seed.isin([5, 9]))
    (found,) = scores(design(measure="diverged", tune_by="loss"), runs)
    assert found["he"].values.sum() == 2
    assert found["he"].values[5] == 1
    assert found["xavier"].values.sum() == 0
    with pytest.raises(ClaimError, match="no column 'diverged' or 'diverged_at'"):
        scores(design(measure="diverged", tune_by="loss"), frame())


def test_a_grid_of_one_point_has_no_end():
    # catches: a warning at every arm that is run at a stated rate, and at hyperparameters that are words
    (found,) = scores(design(tune={"lr": (0.03,)}), frame(lrs=(0.03,)))
    assert found["he"].edge == ()
    words = frame(lrs=(0.03, 0.1)).replace({"lr": {0.03: "slow", 0.1: "fast"}})
    assert scores(design(tune={"lr": ("slow", "fast")}), words)[0]["he"].edge == ()
