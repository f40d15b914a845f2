import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.schedules import Constant, StepDecay


@given(st.integers(1, 30), st.floats(0.05, 1), st.integers(0, 200))
def test_step_decay_agrees_with_torch(every, factor, t):
    # catches: the drop one step early or late
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, every, factor)
    for _ in range(t):
        optimizer.step()
        scheduler.step()
    assert StepDecay(every, factor)(t) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)


def test_constant_is_one():
    assert Constant()(0) == Constant()(10**6) == 1


def test_bad_values():
    with pytest.raises(ValueError, match="every"):
        StepDecay(0)
    with pytest.raises(ValueError, match="whole number"):
        StepDecay(2.5)
    for factor in (0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="factor"):
            StepDecay(10, factor)
