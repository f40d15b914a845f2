import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.data import load
from course_lib.losses import cross_entropy


@given(st.integers(1, 5), st.integers(1, 9), st.integers(2, 6))
def test_the_copy_task_is_its_definition(length, delay, symbols):
    # catches: a delay that is off by one, the signal in the wrong place, targets in reverse order
    data = load("copy_task", n=20, length=length, delay=delay, symbols=symbols)
    blank, signal, steps = symbols, symbols + 1, 2 * length + delay
    x = data.x.argmax(-1)
    assert data.x.shape == (20, steps, symbols + 2)
    assert torch.equal(data.x.sum(-1), torch.ones(20, steps))
    assert (x[:, :length] < symbols).all()
    assert ((x == signal).nonzero()[:, 1] == length - 1 + delay).all()
    assert ((x[:, length:] == blank).sum(1) == steps - length - 1).all()
    assert torch.equal(data.y[:, -length:], x[:, :length])
    assert (data.y[:, :-length] == blank).all()


def test_every_symbol_is_as_likely():
    # 10,000 draws of four: 0.02 is 4.6 standard errors; one of four misses it with probability below 2e-5, but the
    # seed is fixed
    symbols = load("copy_task", n=2500, length=4).y[:, -4:]
    assert (symbols.flatten().bincount(minlength=4) / symbols.numel() - 0.25).abs().max() < 0.02


def test_the_loss_of_a_guess():
    # catches: a loss that is not the mean over all steps
    data = load("copy_task", n=50, length=3, delay=4, symbols=5)
    logits = torch.full((50, 10, 6), -1e4)
    logits[:, :7, 5], logits[:, 7:, :5] = 0, 0
    assert float(cross_entropy(logits, data.y)) == pytest.approx(3 * math.log(5) / 10)


@pytest.mark.parametrize("bad", [{"length": 0}, {"delay": 0}, {"symbols": 1}, {"n": 0}])
def test_numbers_that_are_too_small_are_refused(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"copy_task: {name} must be at least"):
        load("copy_task", **bad)
    with pytest.raises(TypeError, match=f"copy_task: {name} must be a whole number"):
        load("copy_task", **{name: 2.5})
