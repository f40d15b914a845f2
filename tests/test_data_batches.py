"""Batches of one epoch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.data import as_tensors, batches_per_epoch, epoch_batches, load
from course_lib.rng import generator


@given(n=st.integers(1, 300), size=st.integers(1, 300), drop=st.booleans(), seed=st.integers(0, 99))
def test_an_epoch_uses_every_index_once(n, size, drop, seed):
    # catches a lost last batch, and a batch drawn with replacement
    if size > n:
        return
    batches = list(epoch_batches(n, size, generator(seed), drop_last=drop))
    assert len(batches) == batches_per_epoch(n, size, drop)
    used = torch.cat(batches)
    assert len(used.unique()) == len(used) == (n - n % size if drop else n)
    assert all(len(b) == size for b in batches[:-1])
    assert used.max() < n


def test_every_epoch_has_a_new_order():
    # catches one permutation used for all epochs (it differs by chance but for 1 in 100!)
    gen = generator(0)
    first, second = (torch.cat(list(epoch_batches(100, 32, gen))) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, torch.cat(list(epoch_batches(100, 32, generator(0)))))


def test_the_draw_happens_at_the_call():
    # catches a lazy generator: a checkpoint saved between call and first batch would miss the draw
    gen, other = generator(0), generator(0)
    epoch_batches(10, 5, gen)
    torch.randperm(10, generator=other)
    assert torch.equal(gen.get_state(), other.get_state())


@pytest.mark.parametrize(
    ("n", "size", "says"), [(10, 11, "number of samples, 10, got 11"), (10, 0, "at least 1, got 0")]
)
def test_bad_batch_sizes_are_refused_at_the_call(n, size, says):
    with pytest.raises(ValueError, match=says):
        epoch_batches(n, size, generator(0))


def test_as_tensors():
    data = load("wine")
    assert as_tensors(data)[0] is data.x
    pair = (torch.zeros(3, 2), torch.zeros(3))
    assert as_tensors(pair)[1] is pair[1]
    with pytest.raises(ValueError, match=r"\(3, 2\) and y of shape \(4,\)"):
        as_tensors((torch.zeros(3, 2), torch.zeros(4)))
    with pytest.raises(ValueError, match="at least one"):
        as_tensors((torch.zeros(0, 2), torch.zeros(0)))
    with pytest.raises(TypeError, match="got Tensor"):
        as_tensors(torch.zeros(2, 2))


@pytest.mark.gpu
def test_indices_are_on_the_generators_device():
    assert next(iter(epoch_batches(10, 5, generator(0, device="cuda")))).device.type == "cuda"
