"""What every rule, initialiser, activation, loss and model keeps, checked on all of them at once."""

import dataclasses
from functools import partial
from inspect import signature

import pytest
import torch
from torch.func import functional_call, vmap

from course_lib import activations, clipping, initialization, losses, models, optimizers, regularization
from course_lib.rng import generator

DTYPES = [torch.float32, torch.float64]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
RULES = [
    *(rule(0.1) for rule in optimizers.RULES.values()),
    optimizers.AMSGrad(0.1, bias_correction=False),
    optimizers.SWATS(0.1, beta2=0.9, threshold=0.1),  # switches at once
]
CLIPS = [clipping.ClipValue(0.5), clipping.ClipNorm(0.5), clipping.ClipNormPerTensor(0.5)]
CONSTRAINTS = [regularization.MaxNorm(0.5), regularization.WeightDecay(0.5)]
PENALTIES = [regularization.L1(0.5), regularization.L2(0.5)]
LOSSES = [
    losses.cross_entropy,
    losses.SmoothedCrossEntropy(0.1),
    losses.binary_cross_entropy,
    losses.mean_squared_error,
]


def draw(*shape, dtype=torch.float64, device="cpu", stream="x"):
    return torch.randn(shape, generator=generator(0, stream), dtype=dtype).to(device)


def name_of(thing):
    return getattr(thing, "name", None) or getattr(thing, "__name__", type(thing).__name__)


@pytest.mark.parametrize(
    ("module", "covered"),
    [(optimizers, RULES), (clipping, CLIPS), (regularization, PENALTIES + CONSTRAINTS)],
    ids=["optimizers", "clipping", "regularization"],
)
def test_everything_of_the_module_is_under_contract(module, covered):
    # catches: a new rule, clipping or penalty that nobody added above, or to optimizers.RULES
    public = [getattr(module, name) for name in module.__all__]
    assert {c for c in public if dataclasses.is_dataclass(c)} == {type(r) for r in covered}


@pytest.mark.parametrize("thing", RULES + CLIPS + PENALTIES + CONSTRAINTS, ids=name_of)
def test_hyperparameters_are_frozen(thing):
    # catches: a rule that can be changed after its checks, or under a sweep that shares it
    field = dataclasses.fields(thing)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(thing, field, 0.2)
    assert thing == dataclasses.replace(thing)


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


WRITING = [rule for rule in RULES if "out" in signature(rule.step).parameters]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rule", WRITING, ids=name_of)
@pytest.mark.parametrize("lr", [float, torch.tensor], ids=["a number", "a tensor"])
def test_rule_writes_its_weight_where_it_is_told_to_the_weight_itself_included(rule, lr, device):
    # catches: a term of w read after w was written (weight decay), a result written and another returned
    w, g = (draw(4, 3, device=device, stream=s) for s in ("w", "g"))
    rule, state = optimizers.with_lr(rule, lr(0.1)), rule.init(w)
    expected, after = rule.step(w, g, state, 1)
    for out in (torch.empty_like(w), w):
        new, same = rule.step(w, g, state, 1, out=out)
        assert new is out
        assert all(torch.equal(a, b) for a, b in zip((expected, *after), (out, *same), strict=True))


def test_all_rules_but_the_one_of_whole_vectors_write_where_they_are_told_to():
    # catches: a rule that falls out of the test above without anybody noticing
    assert [type(rule).__name__ for rule in RULES if rule not in WRITING] == ["SWATS", "SWATS"]


def steps_of_runs(rule, w, g, values):
    """Ten steps with these hyperparameters, the step number as a tensor: what a sweep maps over runs."""
    rule = optimizers.with_values(rule, **values)
    state = rule.init(w)
    for t in range(10):
        w, state = rule.step(w, g[t], state, torch.tensor(t + 1))
    return w, state


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_stack_of_runs_equals_the_runs(rule):
    # catches: a norm or a mean over the axis of runs; a hyperparameter taken from a neighbour; one that may be
    # a number only; a Python branch on a mapped tensor
    w, g = draw(5, 12, stream="w"), draw(10, 5, 12, stream="g")
    numbers = {
        f.name: getattr(rule, f.name) for f in dataclasses.fields(rule) if f.type != "bool" and f.type is not bool
    }
    shares = torch.linspace(0.9, 1, 5, dtype=torch.float64)
    values = {name: value * shares for name, value in numbers.items()}
    stacked, state = vmap(partial(steps_of_runs, rule), in_dims=(0, 1, 0))(w, g, values)
    for i in range(5):
        one = dataclasses.replace(rule, **{name: value[i].item() for name, value in values.items()})
        alone, s = w[i], rule.init(w[i])
        for t in range(10):
            alone, s = one.step(alone, g[t, i], s, t + 1)
        torch.testing.assert_close(stacked[i], alone, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close([x[i] for x in state], [*s], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_hyperparameters_in_float64_leave_float32_weights_as_they_are(rule):
    # catches: a sweep's values that promote the weights, so that every later step runs in float64
    w, g = draw(3, 12, dtype=torch.float32, stream="w"), draw(10, 3, 12, dtype=torch.float32, stream="g")
    values = {"lr": torch.linspace(0.1, 0.2, 3, dtype=torch.float64)}
    moved, state = vmap(partial(steps_of_runs, rule), in_dims=(0, 1, 0))(w, g, values)
    assert {x.dtype for x in (moved, *state)} == {torch.float32}


@pytest.mark.skipif(torch.__version__ < "2.9", reason="torch 2.8's Dynamo cannot trace copy.copy; sweeps do without it")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, while it compiles
@pytest.mark.parametrize("rule", [optimizers.AdamW(0.1), optimizers.Nadam(0.1), RULES[-1]], ids=name_of)
def test_rule_compiles_as_one_graph_over_runs(rule):
    # catches: .item(), a data-dependent branch, a check inside the step
    w, g, lr = draw(4, 12, stream="w"), draw(4, 12, stream="g"), torch.linspace(0.1, 0.2, 4, dtype=torch.float64)

    def step(w, g, state, t, lr):
        return vmap(lambda w, g, s, lr: optimizers.with_lr(rule, lr).step(w, g, s, t), in_dims=(0, 0, 0, 0))(
            w, g, state, lr
        )

    state = vmap(rule.init)(w)
    compiled = torch.compile(step, fullgraph=True)
    for t in (1, 2, 3):
        expected, after = step(w, g, state, torch.tensor(t), lr)
        moved, state = compiled(w, g, state, torch.tensor(t), lr)
        torch.testing.assert_close(moved, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close([*state], [*after], rtol=1e-12, atol=1e-12)
        w = moved


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("thing", CLIPS + PENALTIES + CONSTRAINTS, ids=name_of)
def test_clipping_penalty_and_constraint_keep_names_shapes_dtype_and_device(thing, dtype, device):
    # catches: a float64 constant that promotes; a name that is dropped, or moved to another place
    given = {
        n: draw(*s, dtype=dtype, device=device, stream=n) for n, s in (("w", (4, 3)), ("b", (4,)), ("k", (2, 1, 3)))
    }
    kept = {n: x.clone() for n, x in given.items()}
    if thing in CLIPS:
        got = thing(given)
    elif thing in PENALTIES:
        got = thing.gradient(given)
        assert (thing.loss(given).shape, thing.loss(given).dtype) == ((), dtype)
    else:
        got = thing(given, given, 0.1)
    assert list(got) == list(given)
    assert [(x.shape, x.dtype, x.device) for x in got.values()] == [
        (x.shape, x.dtype, x.device) for x in given.values()
    ]
    assert all(torch.equal(kept[n], x) for n, x in given.items())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", activations.ACTIVATIONS.values(), ids=name_of)
def test_activation_is_elementwise_and_keeps_its_input(activation, dtype, device):
    z = draw(3, 4, dtype=dtype, device=device)
    kept = z.clone()
    for f in (activation.f, activation.derivative):
        a = f(z)
        assert (a.shape, a.dtype, a.device) == (z.shape, dtype, z.device)
        torch.testing.assert_close(a[1, 2], f(z[1, 2]))  # one element has another kernel: a last bit may differ
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
    target = torch.tensor([0, 2, 1, 1, 0, 2]) if loss in LOSSES[:2] else torch.sigmoid(draw(6, 3, stream="y"))
    once, twice = loss(z, target), loss(torch.cat([z, z]), torch.cat([target, target]))
    assert once.shape == ()
    assert once.dtype == z.dtype
    torch.testing.assert_close(once, twice, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "model",
    [
        models.MLP((12, 8, 3), generator=generator(0)),
        models.MLP((12, 8, 3), torch.tanh, generator=generator(0), norm=torch.nn.BatchNorm1d).eval(),
        models.ConvNet((1, 12), (4, 4), 3, generator=generator(0)),
        models.ConvNet((3, 2, 2), (4,), 3, generator=generator(0)),
        *(models.ResidualMLP(12, 6, 3, 3, generator=generator(0), skip=s) for s in ("none", "add", "concat", "block")),
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
