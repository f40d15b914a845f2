"""Splits and k-fold: properties under Hypothesis, and every error."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.data import k_fold, load, split, stratified_k_fold
from course_lib.rng import generator

THIRDS = st.tuples(st.floats(0.05, 0.9), st.floats(0.05, 0.9), st.floats(0.05, 0.9)).map(
    lambda w: tuple(v / sum(w) for v in w)
)
LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=150)


def covers(parts, n):
    return torch.equal(torch.cat(list(parts)).sort().values, torch.arange(n))


@given(n=st.integers(60, 400), fractions=THIRDS, seed=st.integers(0, 99))
def test_a_split_is_a_partition_rounded_by_largest_remainder(n, fractions, seed):
    # catches a sample in two parts or in none, and sizes from rounding each fraction by itself
    parts = split(n, fractions, generator(seed))
    assert covers(parts, n)
    sizes = [len(p) for p in parts]
    quotas = [f * n for f in fractions]
    assert all(int(q) <= s <= int(q) + 1 for q, s in zip(quotas, sizes, strict=True))
    up = [q % 1 for q, s in zip(quotas, sizes, strict=True) if s > q]
    down = [q % 1 for q, s in zip(quotas, sizes, strict=True) if s < q]
    assert not up or not down or min(up) >= max(down) - 1e-6


def test_known_sizes():
    # catches floats that fall just short of a whole number: 0.2 · 15 is 3.0000000000000004 in doubles
    for n, fractions, sizes in [
        (10, (0.6, 0.2, 0.2), [6, 2, 2]),
        (15, (0.7, 0.1, 0.2), [11, 1, 3]),
        (1000, (0.98, 0.01, 0.01), [980, 10, 10]),
        (7, (0.5, 0.25, 0.25), [3, 2, 2]),
        (9, (0.8, 0.0, 0.2), [7, 0, 2]),
    ]:
        assert [len(p) for p in split(n, fractions, generator(0))] == sizes


@given(labels=LABELS, fractions=THIRDS, seed=st.integers(0, 99))
def test_a_stratified_split_keeps_proportions_within_one_sample(labels, fractions, seed):
    # catches a plain random split, and sizes that drift because every class rounds the same way
    labels = torch.tensor(labels)
    try:
        parts = split(labels, fractions, generator(seed), stratify=True)
    except ValueError:  # only a class whose share of some part is below one sample may be missing there
        assert min(fractions) * labels.bincount()[labels.unique()].min() < 1 + 1e-9
        return
    assert covers(parts, len(labels))
    for part, fraction in zip(parts, fractions, strict=True):
        assert abs(len(part) - fraction * len(labels)) < 1 + 1e-6
        for c in labels.unique():
            share = fraction * int((labels == c).sum())
            assert abs(int((labels[part] == c).sum()) - share) < 1 + 1e-6


def test_stratified_sizes_do_not_drift():
    # catches spare samples that always go to the same part: 20 classes with shares 4.8, 1.6 and 1.6
    parts = split(torch.arange(20).repeat(8), (0.6, 0.2, 0.2), generator(0), stratify=True)
    assert [len(p) for p in parts] == [96, 32, 32]


@given(
    groups=st.lists(st.integers(0, 30), min_size=80, max_size=200),
    seed=st.integers(0, 99),
)
def test_a_group_is_never_divided(groups, seed):
    # catches the leak that groups are there to stop
    groups = torch.tensor(groups)
    n, largest = len(groups), int(groups.bincount().max())
    try:
        parts = split(n, (0.6, 0.2, 0.2), generator(seed), groups=groups)
    except ValueError:  # a part stays empty only when one group is too big for the others
        assert largest >= 0.3 * n
        return
    assert covers(parts, n)
    members = [set(groups[p].tolist()) for p in parts]
    assert sum(len(m) for m in members) == len(groups.unique())
    for part, fraction in zip(parts, (0.6, 0.2, 0.2), strict=True):
        assert -2 * largest <= len(part) - fraction * n <= largest


@given(n=st.integers(2, 200), k=st.integers(2, 20), seed=st.integers(0, 99))
def test_k_fold_holds_every_sample_out_once(n, k, seed):
    if k > n:
        return
    folds = list(k_fold(n, k, generator(seed)))
    assert len(folds) == k
    assert covers((held for _, held in folds), n)
    sizes = [len(held) for _, held in folds]
    assert max(sizes) - min(sizes) <= 1
    assert all(covers(pair, n) for pair in folds)


@given(labels=LABELS, k=st.integers(2, 6), seed=st.integers(0, 99))
def test_stratified_k_fold_spreads_every_class_evenly(labels, k, seed):
    # catches fold sizes that add up one class's remainder after the other's, always in fold 0
    labels = torch.tensor(labels)
    counts = labels.bincount()
    if counts[counts > 0].min() < k:
        with pytest.raises(ValueError, match="too few in"):
            stratified_k_fold(labels, k, generator(seed))
        return
    folds = list(stratified_k_fold(labels, k, generator(seed)))
    assert covers((held for _, held in folds), len(labels))
    assert all(covers(pair, len(labels)) for pair in folds)
    table = torch.stack([labels[held].bincount(minlength=5) for _, held in folds])
    assert (table.amax(0) - table.amin(0)).max() <= 1
    assert table.sum(1).max() - table.sum(1).min() <= 1


def test_parts_are_shuffled_and_seeded():
    # catches parts in the order of the data, where a sorted file would give test one class
    y = load("digits").y
    for stratify in (False, True):
        a, b, c = (split(y, generator=generator(s), stratify=stratify) for s in (0, 0, 1))
        assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))
        assert not torch.equal(a.train, c.train)
        assert not torch.equal(a.train, a.train.sort().values)
    held = next(k_fold(100, 5, generator(0)))[1]
    assert not torch.equal(held, held.sort().values)
    # every sample has the same chance of the test part: 4,000 splits of 10, 2 tested, 800 ± 25 (6 σ = 152);
    # chance of failing below 10 · 2e-9
    gen = generator(3)
    hits = torch.zeros(10)
    for _ in range(4000):
        hits[split(10, generator=gen).test] += 1
    assert (hits - 800).abs().max() < 152


def test_k_fold_uses_every_train_index_of_the_rest():
    train, held = next(iter(k_fold(10, 5, generator(0))))
    assert (len(train), len(held)) == (8, 2)
    assert not set(train.tolist()) & set(held.tolist())


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda g: split(10, (0.6, 0.2, 0.1), g), "sum to 1, got.*sum 0.9"),
        (lambda g: split(10, (1.2, -0.1, -0.1), g), "≥ 0"),
        (lambda g: split(10, (0.5, 0.5), g), "three numbers"),
        (lambda g: split(10, (float("nan"), 0.5, 0.5), g), "≥ 0"),
        (lambda g: split(3, (0.98, 0.01, 0.01), g), "val part would be empty: 0.01 of 3"),
        (lambda g: split(0, generator=g), "n=0"),
        (lambda g: split(torch.rand(9), generator=g), "whole numbers"),
        (lambda g: split([0] * 50 + [1], generator=g), r"no sample of class 1 \(1 in all\): use stratify"),
        (lambda g: split([0] * 50 + [1], generator=g, stratify=True), "class 1 .* join rare classes"),
        (lambda g: split(10, generator=g, stratify=True), "needs the labels, got only n=10"),
        (lambda g: split([0, 1] * 9, generator=g, stratify=True, groups=[0] * 18), "exclude each other"),
        (lambda g: split(9, generator=g, groups=[0, 1]), r"each of 9 samples, got shape \(2,\)"),
        (lambda g: split(9, generator=g, groups=[0] * 9), "part would be empty"),
        (lambda g: k_fold(5, 6, g), "k=6 for n=5"),
        (lambda g: k_fold(5, 1, g), "k must be at least 2, got 1"),
        (lambda g: stratified_k_fold([0, 0, 0, 1], 2, g), r"k=2 samples.*: 1 \(1\)"),
        (lambda g: stratified_k_fold([0, 1], 1, g), "got 1"),
        (lambda g: stratified_k_fold(10, 2, g), "needs the labels"),
    ],
)
def test_bad_input_names_the_rule_the_value_and_the_remedy(call, says):
    with pytest.raises(ValueError, match=says):
        call(generator(0))


def test_a_generator_is_required():
    with pytest.raises(TypeError, match=r"rng\.generator"):
        split(10)
    with pytest.raises(TypeError, match=r"rng\.generator"):
        k_fold(10, 2, 0)
