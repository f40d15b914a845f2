"""Training, validation and test parts; k-fold. All return disjoint index tensors that cover the data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from course_lib.names import check_whole

__all__ = ["Split", "k_fold", "split", "stratified_k_fold"]

_PARTS = ("train", "val", "test")


class Split(NamedTuple):
    """Index tensors (int64) of the three parts."""

    train: Tensor
    val: Tensor
    test: Tensor


def split(
    n_or_labels: int | Tensor | Sequence[int],
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    generator: Generator | None = None,
    stratify: bool = False,
    groups: Tensor | Sequence[int] | None = None,
) -> Split:
    """Split samples at random into training, validation and test parts.

    n_or_labels: number of samples, or their labels (N,), which are then checked: no part lacks a class.
    fractions: of train, val, test; at least 0, summing to 1. A fraction of 0 asks for no such part.
    stratify: split each class by itself. Each class's number in a part is then its share to within one
        sample, and so is the part's size.
    groups: (N,) group of each sample. A group (one patient, one writer, copies of one image) is never
        divided: with copies on both sides, a test measures memory. Sizes are then approximate.
    Without stratify and groups, sizes are fractions × n, rounded by largest remainder.
    generator: required; indices are on its device, in random order.
    Raises: ValueError naming the rule, the value and the remedy.
    Chapter: 01_data_preparation.   Checked against: its properties, under Hypothesis.
    """
    generator = _checked(generator)
    n, labels = _n_and_labels(n_or_labels)
    fractions = tuple(float(f) for f in fractions)
    if len(fractions) != 3 or any(not f >= 0 for f in fractions) or not math.isclose(sum(fractions), 1):
        raise ValueError(
            f"fractions of train, val and test must be three numbers ≥ 0 that sum to 1, got {fractions} "
            f"(sum {sum(fractions):g}): for example (0.6, 0.2, 0.2)"
        )
    if stratify and groups is not None:
        raise ValueError("stratify and groups exclude each other: a whole group has one place. Choose one")
    if stratify and labels is None:
        raise ValueError(f"stratify=True needs the labels, got only n={n}: pass the labels instead of n")

    if stratify:
        part = _stratified_parts(labels, fractions, generator)
    elif groups is not None:
        part = _grouped_parts(n, groups, fractions, generator)
    else:
        part = torch.empty(n, dtype=torch.int64)
        part[_permutation(n, generator)] = _labels_of(largest_remainder(fractions, n))

    order = _permutation(n, generator)
    result = Split(*(order[part[order] == p] for p in range(3)))
    _check_parts(result, fractions, labels, n, stratify)
    return Split(*(indices.to(generator.device) for indices in result))


def k_fold(n: int, k: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield k pairs (train, held_out) of index tensors; each sample is held out once.

    Held-out parts differ in size by at most one. Within a part, indices are in random order.
    Raises: ValueError if k < 2 or k > n.
    Chapter: 01_data_preparation.   Checked against: its properties, under Hypothesis.
    """
    generator = _checked(generator)
    check_whole("n", n)
    check_whole("k", k, low=2)
    if k > n:
        raise ValueError(f"k-fold needs 2 ≤ k ≤ n, got k={k} for n={n} samples: k = 5 or 10 is usual")
    fold = torch.empty(n, dtype=torch.int64)
    fold[_permutation(n, generator)] = torch.arange(n) % k
    return _folds(fold, k, generator)


def stratified_k_fold(labels: Tensor | Sequence[int], k: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield k pairs (train, held_out) as `k_fold` does, each class spread evenly over the folds.

    In any two folds the numbers of one class differ by at most one, and so do the folds' sizes.
    Raises: ValueError if k < 2 or some class has fewer than k samples.
    Chapter: 01_data_preparation.   Checked against: its properties, under Hypothesis.
    """
    generator = _checked(generator)
    n, labels = _n_and_labels(labels)
    if labels is None:
        raise ValueError(f"stratified_k_fold needs the labels, got only n={n}: use k_fold, or pass labels")
    check_whole("k", k, low=2)
    classes, counts = labels.unique(return_counts=True)
    if int(counts.min()) < k:
        small = [f"{c} ({m})" for c, m in zip(classes.tolist(), counts.tolist(), strict=True) if m < k]
        raise ValueError(
            f"every class needs at least k={k} samples, one for each fold, too few in: {', '.join(small)}: "
            "use a smaller k, or join rare classes"
        )
    # Deal the samples out like cards, one class after the other: fold 0, 1, …, k−1, 0, 1, …
    shuffled = _permutation(n, generator)
    dealt = shuffled[labels[shuffled].argsort(stable=True)]
    fold = torch.empty(n, dtype=torch.int64)
    fold[dealt] = torch.arange(n) % k
    return _folds(fold, k, generator)


def largest_remainder(fractions: Sequence[float], n: int) -> list[int]:
    """Round fractions × n to whole numbers that sum to n; the largest remainders are rounded up."""
    quotas = [round(f * n, 9) for f in fractions]
    sizes = [math.floor(q) for q in quotas]
    by_remainder = sorted(range(len(sizes)), key=lambda i: sizes[i] - quotas[i])
    for i in by_remainder[: n - sum(sizes)]:
        sizes[i] += 1
    return sizes


def _checked(generator) -> Generator:
    if not isinstance(generator, Generator):
        raise TypeError(f"needs a torch.Generator, got {generator!r}: use course_lib.rng.generator(seed)")
    return generator


def _n_and_labels(n_or_labels) -> tuple[int, Tensor | None]:
    if isinstance(n_or_labels, int) and not isinstance(n_or_labels, bool):
        if n_or_labels < 1:
            raise ValueError(f"needs at least one sample, got n={n_or_labels}")
        return n_or_labels, None
    labels = torch.as_tensor(n_or_labels).cpu()
    if labels.ndim != 1 or len(labels) == 0 or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"needs a whole number of samples or their labels (N,), got shape {tuple(labels.shape)} of "
            f"{labels.dtype}: labels are whole numbers; for a regression target pass len(y)"
        )
    return len(labels), labels


def _permutation(n: int, generator: Generator) -> Tensor:
    return torch.randperm(n, generator=generator, device=generator.device).cpu()


def _labels_of(sizes: Sequence[int]) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))


def _stratified_parts(labels: Tensor, fractions: Sequence[float], generator: Generator) -> Tensor:
    """Part of each sample. Each class's spare samples go to the parts that are furthest behind."""
    part = torch.empty(len(labels), dtype=torch.int64)
    behind = [0.0] * len(fractions)
    for c in labels.unique():
        members = (labels == c).nonzero().flatten()
        quotas = [round(f * len(members), 9) for f in fractions]
        sizes = [math.floor(q) for q in quotas]
        behind = [b + q - s for b, q, s in zip(behind, quotas, sizes, strict=True)]
        open_parts = [p for p in range(len(sizes)) if quotas[p] > sizes[p]]
        open_parts.sort(key=lambda p: -behind[p])
        for p in open_parts[: len(members) - sum(sizes)]:
            sizes[p] += 1
            behind[p] -= 1
        part[members[_permutation(len(members), generator)]] = _labels_of(sizes)
    return part


def _grouped_parts(n: int, groups, fractions: Sequence[float], generator: Generator) -> Tensor:
    """Part of each sample: groups in random order, each to the part that is furthest behind."""
    groups = torch.as_tensor(groups).cpu()
    if groups.shape != (n,):
        raise ValueError(f"needs one group for each of {n} samples, got shape {tuple(groups.shape)}")
    _, group, counts = groups.unique(return_inverse=True, return_counts=True)
    behind = [f * n for f in fractions]
    part_of_group = torch.empty(len(counts), dtype=torch.int64)
    for g in _permutation(len(counts), generator).tolist():
        p = max(range(len(behind)), key=lambda p: behind[p])
        part_of_group[g] = p
        behind[p] -= int(counts[g])
    return part_of_group[group]


def _check_parts(result: Split, fractions: Sequence[float], labels: Tensor | None, n: int, stratify: bool) -> None:
    for name, indices, fraction in zip(_PARTS, result, fractions, strict=True):
        if fraction == 0:
            continue
        if len(indices) == 0:
            raise ValueError(
                f"the {name} part would be empty: {fraction:g} of {n} samples. Use more data (or more "
                "groups), a larger fraction, or a fraction of 0 to leave the part out"
            )
        if labels is not None:
            missing = sorted(set(labels.tolist()) - set(labels[indices].tolist()))
            if missing:
                has = ", ".join(f"{c} ({int((labels == c).sum())} in all)" for c in missing)
                remedy = "collect more of it, or join rare classes" if stratify else "use stratify=True or more data"
                raise ValueError(
                    f"the {name} part ({len(indices)} samples) would have no sample of class {has}: {remedy}; "
                    "pass n instead of labels to allow it"
                )


def _folds(fold: Tensor, k: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    order = _permutation(len(fold), generator)
    fold, device = fold[order], generator.device
    return ((order[fold != i].to(device), order[fold == i].to(device)) for i in range(k))
