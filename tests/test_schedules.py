import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from course_lib.schedules import (
    Constant,
    Cosine,
    Exponential,
    LinearWarmup,
    OneCycle,
    Performance,
    Power,
    Product,
    RangeTest,
    Sequence,
    StepDecay,
    torch_scheduler,
)


def optimizer(lr=1.0):
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)


def factors(make, steps=200, lr=1.0):
    """Return the rates of the first updates under a torch scheduler."""
    o = optimizer(lr)
    scheduler, rates = make(o), []
    for _ in range(steps):
        rates.append(o.param_groups[0]["lr"])
        o.step()
        scheduler.step()
    return rates


def warm_and_decay(o):
    parts = [lr_scheduler.LinearLR(o, 0.2, 1.0, 30), lr_scheduler.CosineAnnealingLR(o, 170)]
    return lr_scheduler.SequentialLR(o, parts, [30])


def three_parts(o):
    parts = [lr_scheduler.StepLR(o, 7, 0.5), lr_scheduler.ExponentialLR(o, 0.1 ** (1 / 40))]
    return lr_scheduler.SequentialLR(o, [*parts, lr_scheduler.CosineAnnealingLR(o, 100)], [60, 100])


def one_cycle(**options):
    return lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=201, cycle_momentum=False, **options)


# Every schedule beside the torch scheduler that it must equal over the first 200 updates.
PAIRS = {
    "constant": (Constant(), lambda o: lr_scheduler.ConstantLR(o, 1.0)),
    "step": (StepDecay(30), lambda o: lr_scheduler.StepLR(o, 30, 0.1)),
    "step, options": (StepDecay(7, 0.6), lambda o: lr_scheduler.StepLR(o, 7, 0.6)),
    "exponential": (Exponential(100), lambda o: lr_scheduler.ExponentialLR(o, 0.1 ** (1 / 100))),
    "exponential, options": (Exponential(12.5, 0.7), lambda o: lr_scheduler.ExponentialLR(o, 0.7 ** (1 / 12.5))),
    "cosine": (Cosine(200), lambda o: lr_scheduler.CosineAnnealingLR(o, 200)),
    "cosine, options": (Cosine(201, 0.3), lambda o: lr_scheduler.CosineAnnealingLR(o, 201, 0.3)),
    "warm-up": (LinearWarmup(50, start=0.25), lambda o: lr_scheduler.LinearLR(o, 0.25, 1.0, 50)),
    "warm-up, then": (LinearWarmup(30, Cosine(170), 0.2), warm_and_decay),
    "one cycle": (OneCycle(201), one_cycle()),
    "one cycle, options": (
        OneCycle(201, 0.45, 0.1, 1e-3),
        one_cycle(pct_start=0.45, div_factor=10, final_div_factor=100),
    ),
    "sequence": (Sequence(((60, StepDecay(7, 0.5)), (40, Exponential(40)), (1, Cosine(100)))), three_parts),
    "product": (
        Product((StepDecay(50, 0.5), Exponential(300))),
        lambda o: lr_scheduler.ChainedScheduler(
            [lr_scheduler.StepLR(o, 50, 0.5), lr_scheduler.ExponentialLR(o, 0.1 ** (1 / 300))]
        ),
    ),
    "range test": (RangeTest(201, 1.0, 50.0), lambda o: lr_scheduler.ExponentialLR(o, 50 ** (1 / 200))),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")  # torch's own, in SequentialLR
@pytest.mark.parametrize("name", PAIRS)
def test_schedule_agrees_with_torch(name):
    # catches: a drop one step early or late, floor and start mixed up, a part that does not start at its own 0
    schedule, make = PAIRS[name]
    np.testing.assert_allclose([schedule(t) for t in range(200)], factors(make), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", PAIRS)
def test_every_schedule_is_a_torch_scheduler_and_reloads(name):
    # catches: a factor on the rate of the step before; state_dict without the schedule's place
    schedule, _ = PAIRS[name]
    o = optimizer(0.3)
    scheduler = torch_scheduler(o, schedule)
    for t in range(20):
        assert o.param_groups[0]["lr"] == pytest.approx(0.3 * schedule(t), rel=1e-12)
        o.step()
        scheduler.step()
        if t == 10:
            saved = o.state_dict(), scheduler.state_dict()
            o = optimizer(0.3)
            scheduler = torch_scheduler(o, schedule)
            o.load_state_dict(saved[0])
            scheduler.load_state_dict(saved[1])


@given(st.integers(1, 30), st.floats(0.05, 1), st.integers(0, 200))
def test_step_decay_agrees_with_torch(every, factor, t):
    # catches: the drop one step early or late
    rates = factors(lambda o: lr_scheduler.StepLR(o, every, factor), t + 1)
    assert StepDecay(every, factor)(t) == pytest.approx(rates[t], rel=1e-12)


@given(st.integers(1, 50), st.floats(0.3, 3), st.integers(0, 40))
def test_power_falls_by_the_lectures_ratio(steps, power, k):
    # lecture C, eq. 2; catches: t counted from 1, the power left out
    schedule = Power(steps, power)
    assert schedule(0) == 1
    assert schedule((k + 1) * steps) / schedule(k * steps) == pytest.approx(((k + 1) / (k + 2)) ** power, rel=1e-12)
    assert Power(10)(30) == pytest.approx(0.25, rel=1e-12)


@given(st.floats(1, 50), st.integers(0, 30))
def test_exponential_falls_by_one_factor_over_every_period(steps, k):
    # lecture C's eq. 4 with its exponents put right
    schedule = Exponential(steps, 0.1)
    assert schedule((k + 1) * steps) / schedule(k * steps) == pytest.approx(0.1, rel=1e-9)


def test_schedules_stay_where_they_end():
    # catches: a cosine that comes up again, a range test that runs away, a one-cycle without its end
    for t in (100, 101, 10**6):
        assert Cosine(100, 0.2)(t) == pytest.approx(0.2, rel=1e-12)
    for t in (99, 100, 10**6):
        assert RangeTest(100, 1e-3, 2.0)(t) == pytest.approx(2.0, rel=1e-12)
        assert OneCycle(100)(t) == pytest.approx(1 / 25e4, rel=1e-9)
        assert LinearWarmup(10)(t) == 1
    assert RangeTest(100, 1e-3, 2.0)(0) == pytest.approx(1e-3, rel=1e-12)
    assert Product(())(5) == 1


def test_what_follows_a_warm_up_begins_at_once():
    # catches: one more step of the rise, which no schedule that begins at 1 would show
    assert [LinearWarmup(2, lambda t: 0.3 - t, start=0.5)(t) for t in range(4)] == pytest.approx([0.5, 0.75, 0.3, -0.7])


SETTINGS = {
    "defaults": ({}, {}),
    "patience 0": ({"patience": 0, "factor": 0.5}, {"patience": 0, "factor": 0.5}),
    "all": (
        {"factor": 0.3, "patience": 2, "threshold": 0.05, "cooldown": 3, "floor": 0.02},
        {"factor": 0.3, "patience": 2, "threshold": 0.05, "cooldown": 3, "min_lr": 0.02},
    ),
    "cooldown": ({"patience": 1, "cooldown": 1}, {"patience": 1, "cooldown": 1}),
}


def losses_of(seed, n=200):
    """Losses that fall, stall and rise, with a NaN among them."""
    rng = np.random.default_rng(seed)
    losses = 1 / (1 + np.arange(n) / 20) + rng.normal(0, 0.1, n).cumsum() * 0.1
    losses[17] = math.nan
    return losses


def plateau_of_torch(options, losses):
    o = optimizer()
    scheduler, rates = lr_scheduler.ReduceLROnPlateau(o, eps=0, **options), []
    for loss in losses:
        scheduler.step(loss)
        rates.append(o.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("name", SETTINGS)
def test_performance_agrees_with_torch(name):
    # catches: ≥ for >, patience off by one, a cooldown that counts, a best that follows every loss, no floor
    ours, theirs = SETTINGS[name]
    schedule = Performance(**ours)
    for seed in range(5):
        state, rates = schedule.init(), []
        for loss in losses_of(seed):
            state = schedule.update(state, loss)
            rates.append(float(state.factor))
        np.testing.assert_allclose(rates, plateau_of_torch(theirs, losses_of(seed)), rtol=1e-12)
        assert min(rates) < 1


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_performance_of_many_runs_is_that_of_each(kind):
    # catches: a plateau of one run that lowers the rate of its neighbour
    schedule = Performance(0.5, 3, cooldown=2)
    losses = np.stack([losses_of(seed) for seed in range(6)], axis=1)
    state, alone = schedule.init((6,)), [schedule.init() for _ in range(6)]
    for row in losses:
        state = schedule.update(state, kind(row))
        alone = [schedule.update(s, float(loss)) for s, loss in zip(alone, row, strict=True)]
        assert state.factor.tolist() == [float(s.factor) for s in alone]
    assert len(set(state.factor.tolist())) > 1


def test_performance_at_the_edge_and_its_defaults():
    # catches: ≤ for <, by which a loss that stands still counts as better; a default that is not torch's
    schedule = Performance(patience=1, threshold=0.0)
    state = schedule.init()
    for _ in range(3):
        state = schedule.update(state, 0.5)
    assert float(state.factor) == pytest.approx(0.1)
    theirs = inspect.signature(lr_scheduler.ReduceLROnPlateau).parameters
    assert all(getattr(Performance(), n) == theirs[n].default for n in ("factor", "patience", "threshold", "cooldown"))


def test_performance_keeps_its_state_and_refuses_losses_of_another_shape():
    schedule = Performance(patience=0)
    state = schedule.init((2,))
    after = schedule.update(state, torch.tensor([1.0, 2.0]))
    assert state.best.tolist() == [math.inf] * 2
    assert after.best.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match=r"val_loss must have the state's shape \(2,\), got \(\)"):
        schedule.update(state, 1.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: StepDecay(0), "every, in steps, must be at least 1"),
        *((lambda f=f: StepDecay(10, f), "factor must be in") for f in (0, 1.5, float("nan"))),
        (lambda: Exponential(0), "steps must be > 0"),
        (lambda: Exponential(10, 1.1), "factor must be in"),
        (lambda: Power(-1), "steps must be > 0"),
        (lambda: Power(1, 0), "power must be > 0"),
        (lambda: Cosine(0), "steps must be at least 1"),
        (lambda: Cosine(10, 1.0), "floor must be in"),
        (lambda: LinearWarmup(0), "steps must be at least 1"),
        (lambda: LinearWarmup(10, start=1.0), "start must be in"),
        (lambda: OneCycle(2), "steps must be at least 3"),
        (lambda: OneCycle(10, 0.1), "rise must be a share"),
        (lambda: OneCycle(10, 0.95), "rise must be a share"),
        (lambda: OneCycle(10, start=0), "start must be in"),
        (lambda: OneCycle(10, end=2), "end must be in"),
        (lambda: RangeTest(1), "steps must be at least 2"),
        (lambda: RangeTest(10, 0.0), "low must be > 0"),
        (lambda: RangeTest(10, 1.0, 1.0), "low must be below high"),
        (lambda: RangeTest(10, 1.0, math.inf), "high must be > 0 and finite"),
        (lambda: Sequence(()), "at least one part"),
        (lambda: Sequence(((0, Constant()),)), "steps must be at least 1"),
        *((lambda f=f: Performance(f), "factor must be in") for f in (0, 1)),
        (lambda: Performance(patience=-1), "patience must be at least 0"),
        (lambda: Performance(cooldown=-1), "cooldown must be at least 0"),
        (lambda: Performance(threshold=1.0), "threshold must be in"),
        (lambda: Performance(floor=-0.1), "floor must be in"),
    ],
)
def test_bad_values(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: StepDecay(2.5), "every, in steps, must be a whole number, got 2.5"),
        (lambda: Cosine(2.5), "whole number"),
        (lambda: LinearWarmup(10, 0.1), "then must be a schedule, a function of the step, got 0.1"),
        (lambda: LinearWarmup(10, Performance()), "Performance looks at the validation loss, so it stands alone"),
        (lambda: Sequence(((10, 0.1),)), "schedule must be a schedule"),
        (lambda: Product((0.1,)), "each factor must be a schedule"),
        (lambda: torch_scheduler(optimizer(), Performance()), "ReduceLROnPlateau"),
    ],
)
def test_bad_types(make, words):
    with pytest.raises(TypeError, match=words):
        make()


def test_the_ends_of_the_ranges_are_allowed():
    # catches: < for ≤
    assert StepDecay(1, 1.0)(5) == 1
    assert LinearWarmup(1, start=0.0)(0) == 0
    assert OneCycle(10, 0.9, 1.0, 1.0)(4) == 1
    assert OneCycle(3, 0.5)(2) == pytest.approx(1 / 25e4)
    Performance(patience=0, cooldown=0, threshold=0.0, floor=0.0)
