"""Mini-batches: one shuffled pass over the data, as index tensors."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from course_lib.data.datasets import Dataset
from course_lib.names import check_whole

__all__ = ["as_tensors", "batches_per_epoch", "epoch_batches"]


def batches_per_epoch(n: int, batch_size: int, drop_last: bool = False) -> int:
    """Return the number of iterations of one epoch: ⌈n / batch_size⌉, or ⌊n / batch_size⌋ with drop_last.

    Raises: ValueError if batch_size is below 1 or above n.
    Chapter: 01_data_preparation.
    """
    check_whole("batch_size", batch_size)
    if batch_size > n:
        raise ValueError(f"batch_size must be at most the number of samples, {n}, got {batch_size}")
    return n // batch_size if drop_last else -(-n // batch_size)


def epoch_batches(n: int, batch_size: int, generator: Generator, drop_last: bool = False) -> Iterator[Tensor]:
    """Yield the index tensors of one epoch: a fresh permutation of 0 … n−1, cut into batches.

    Every index comes once. The last batch is smaller when batch_size does not divide n; drop_last leaves
    it out. The one draw from the generator happens at the call. Indices are on the generator's device.
    Raises: ValueError as `batches_per_epoch`, at the call.
    Chapter: 01_data_preparation.   Checked against: its properties, under Hypothesis.
    """
    count = batches_per_epoch(n, batch_size, drop_last)
    order = torch.randperm(n, generator=generator, device=generator.device)
    return (order[i * batch_size : (i + 1) * batch_size] for i in range(count))


def as_tensors(data: Dataset | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of a Dataset or of a pair of tensors.

    Raises: TypeError for anything else; ValueError if the lengths differ, or are 0.
    """
    if isinstance(data, Dataset):
        return data.x, data.y
    if not (isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(t, Tensor) for t in data)):
        raise TypeError(f"data must be a Dataset or a pair (x, y) of tensors, got {type(data).__name__}")
    x, y = data
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) == 0:
        raise ValueError(
            f"needs one target for each sample, and at least one, got x of shape {tuple(x.shape)} and y of "
            f"shape {tuple(y.shape)}: check that both come from the same selection"
        )
    return x, y
