"""What every rule, initialiser, activation, loss and model keeps, checked on all of them at once."""

import dataclasses

import pytest
import torch
from torch.func import functional_call, vmap

from course_lib import activations, initialization, losses, models, optimizers
from course_lib.rng import generator

DTYPES = [torch.float32, torch.float64]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
RULES = [optimizers.SGD(0.1), optimizers.Momentum(0.1, 0.7), optimizers.Adam(0.1)]
LOSSES = [losses.cross_entropy, losses.binary_cross_entropy, losses.mean_squared_error]


def draw(*shape, dtype=torch.float64, device="cpu", stream="x"):
    return torch.randn(shape, generator=generator(0, stream), dtype=dtype).to(device)


def name_of(thing):
    return getattr(thing, "name", None) or getattr(thing, "__name__", type(thing).__name__)


def test_every_rule_of_the_module_is_under_contract():
    # catches: a new rule that nobody added to RULES
    public = {getattr(optimizers, name) for name in optimizers.__all__}
    rules = {c for c in public if dataclasses.is_dataclass(c)}
    assert rules == {type(r) for r in RULES}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_rule_keeps_dtype_device_shapes_and_its_inputs(rule, dtype, device):
    # catches: an in-place update, a state that changes shape, float64 constants that promote
    w, g = (draw(4, 3, dtype=dtype, device=device, stream=s) for s in ("w", "g"))
    state = rule.init(w)
    kept = [t.clone() for t in (w, g, *state)]
    new, after = rule.step(w, g, state, 1)
    assert new.dtype == dtype
    assert new.device == w.device
    assert new.shape == w.shape
    assert [(t.shape, t.dtype, t.device) for t in after] == [(t.shape, t.dtype, t.device) for t in state]
    assert all(torch.equal(a, b) for a, b in zip(kept, (w, g, *state), strict=True))


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_stack_of_runs_equals_the_runs(rule):
    # catches: a norm or a mean over the axis of runs; a hyperparameter taken from a neighbour
    w, g = draw(5, 4, 3, stream="w"), draw(10, 5, 4, 3, stream="g")
    rates = torch.linspace(0.01, 0.5, 5, dtype=torch.float64)

    def run(w, g, lr):
        r = optimizers.with_lr(rule, lr)
        state = r.init(w)
        for t in range(10):
            w, state = r.step(w, g[t], state, t + 1)
        return w

    stacked = vmap(run, in_dims=(0, 1, 0))(w, g, rates)
    alone = torch.stack([run(w[i], g[:, i], rates[i].item()) for i in range(5)])
    torch.testing.assert_close(stacked, alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", activations.ACTIVATIONS.values(), ids=name_of)
def test_activation_is_elementwise_and_keeps_its_input(activation, dtype, device):
    z = draw(3, 4, dtype=dtype, device=device)
    kept = z.clone()
    for f in (activation.f, activation.derivative):
        a = f(z)
        assert (a.shape, a.dtype, a.device) == (z.shape, dtype, z.device)
        assert torch.equal(a[1, 2], f(z[1, 2]))
    assert torch.equal(z, kept)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", initialization.SCHEMES)
def test_scheme_keeps_shape_and_dtype(name, dtype):
    w = initialization.get(name).sample((5, 4, 3), generator(0), dtype)
    assert (w.shape, w.dtype) == ((5, 4, 3), dtype)
    assert torch.equal(w, initialization.get(name).sample((5, 4, 3), generator(0), dtype))


@pytest.mark.parametrize("loss", LOSSES, ids=name_of)
def test_loss_is_a_mean_over_the_batch(loss):
    # catches: a sum (lecture A), which makes the gradient grow with the batch
    z = draw(6, 3)
    target = torch.tensor([0, 2, 1, 1, 0, 2]) if loss is losses.cross_entropy else torch.sigmoid(draw(6, 3, stream="y"))
    once, twice = loss(z, target), loss(torch.cat([z, z]), torch.cat([target, target]))
    assert once.shape == ()
    assert once.dtype == z.dtype
    torch.testing.assert_close(once, twice, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "model",
    [
        models.MLP((12, 8, 3), generator=generator(0)),
        models.MLP((12, 8, 3), torch.tanh, generator=generator(0), batch_norm=True).eval(),
        models.ConvNet((1, 12), (4, 4), 3, generator=generator(0)),
        models.ConvNet((3, 2, 2), (4,), 3, generator=generator(0)),
        *(models.ResidualMLP(12, 6, 3, 3, generator=generator(0), skip=s) for s in ("none", "add", "concat")),
    ],
    ids=name_of,
)
def test_model_can_be_mapped_over_runs(model):
    # catches: data-dependent control flow or in-place writes, which the sweeps could not stack
    x = draw(4, 12, dtype=torch.float32)
    weights = {n: torch.stack([p.detach(), 1.1 * p.detach()]) for n, p in model.named_parameters()}
    buffers = dict(model.named_buffers())
    out = vmap(lambda w: functional_call(model, (w, buffers), (x,)))(weights)
    for i in range(2):
        one = functional_call(model, ({n: w[i] for n, w in weights.items()}, buffers), (x,))
        torch.testing.assert_close(out[i], one)
