"""Counter-based noise: a pure function of key, step and draw, that looks random."""

import pytest
import torch
from scipy import stats

from course_lib import noise
from course_lib.dropout import Dropout

KEY = torch.tensor(123456789)


def drawn(key=KEY, t=1, shape=(1000,), calls=1, dtype=torch.float32):
    with noise.stream(key, t):
        return [noise.uniform(shape, dtype) for _ in range(calls)][-1]


def test_mix_is_splitmix64():
    # catches: a wrong constant, an arithmetic shift. First outputs of SplitMix64 with seed 0.
    state = torch.arange(1, 4) * noise._GAMMA
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [int(z) % 2**64 for z in noise._mix(state)] == published


def test_the_same_key_step_and_draw_give_the_same_numbers_in_every_dtype_and_shape():
    # catches: a hidden state; a draw that depends on the shape or the dtype
    torch.testing.assert_close(drawn(), drawn(), rtol=0, atol=0)
    torch.testing.assert_close(drawn(shape=(40, 25)).flatten(), drawn(), rtol=0, atol=0)
    torch.testing.assert_close(drawn(dtype=torch.float64).float(), drawn(), rtol=0, atol=0)
    torch.testing.assert_close(drawn(t=torch.tensor(1.0, dtype=torch.float64)), drawn(), rtol=0, atol=0)
    assert drawn().min() >= 0
    assert drawn().max() < 1


@pytest.mark.parametrize("other", [{"t": 2}, {"key": KEY + 1}, {"calls": 2}], ids=str)
def test_another_key_step_or_draw_gives_other_numbers(other):
    # catches: a part of the address that is left out, or that only shifts the sequence
    a, b = drawn(shape=(10_000,)), drawn(shape=(10_000,), **other)
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 0.06  # six standard errors: chance below 1e-8
    for shift in range(-3, 4):
        assert (a.roll(shift) == b).sum() < 10


def test_a_step_may_draw_many_times():
    # catches: an offset that leaves 64 bits at the fourth draw, a layer that repeats another's numbers
    with noise.stream(torch.tensor(3), 1):
        draws = torch.stack([noise.uniform((64,), torch.float64) for _ in range(40)])
    assert len(draws.unique(dim=0)) == 40
    assert draws.corrcoef().fill_diagonal_(0).abs().max() < 0.75  # p < 1e-6: 780 pairs of 64


def test_numbers_are_uniform_over_elements_steps_and_keys():
    # catches: a mixer that leaves a pattern. Fixed addresses: these p-values do not change from run to run.
    keys = torch.randint(2**62, (300,), generator=torch.Generator().manual_seed(0))
    samples = {
        "elements": drawn(shape=(100_000,)),
        "steps": torch.stack([drawn(t=t, shape=(20,)) for t in range(2000)]).flatten(),
        "keys": torch.stack([drawn(key=k, shape=(20,)) for k in keys]).flatten(),
        "near keys": torch.stack([drawn(key=torch.tensor(k), shape=(20,)) for k in range(500)]).flatten(),
    }
    for name, u in samples.items():
        assert stats.kstest(u.numpy(), "uniform").pvalue > 1e-4, name
        pairs = torch.stack([u[:-1], u[1:]])
        assert abs(torch.corrcoef(pairs)[0, 1]) < 6 / len(u) ** 0.5, name


def test_a_stack_of_keys_draws_what_each_draws_alone():
    keys = torch.tensor([5, 6, 7])
    stacked = torch.func.vmap(lambda key: drawn(key, 3, (4, 5)))(keys)
    for key, got in zip(keys, stacked, strict=True):
        torch.testing.assert_close(got, drawn(key, 3, (4, 5)), rtol=0, atol=0)


def test_a_stream_ends_with_its_block():
    assert not noise.active()
    with noise.stream(KEY, 1):
        assert noise.active()
    with pytest.raises(TypeError), noise.stream(KEY, 1):
        noise.uniform()
    assert not noise.active()
    with pytest.raises(RuntimeError, match=r"inside noise\.stream"):
        noise.uniform((2,))


@pytest.mark.parametrize("inside", [True, False])
def test_dropout_drops_its_share_and_keeps_the_mean(inside):
    # catches: the kept share taken for the dropped one, no division by 1 − rate. Fixed seeds.
    x, layer = torch.ones(200_000), Dropout(0.3)
    torch.manual_seed(0)
    if inside:
        with noise.stream(KEY, 1):
            out = layer(x)
    else:
        out = layer(x)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert abs((out == 0).float().mean() - 0.3) < 0.006  # six standard errors
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_dropout_refuses_what_is_no_rate(rate):
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        Dropout(rate)
