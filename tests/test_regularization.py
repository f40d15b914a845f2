import pytest
import torch
from torch import nn
from torch.func import vmap

from course_lib.optimizers import SGD, Adam, AdamW
from course_lib.regularization import L1, L2, MaxNorm, WeightDecay, penalised
from course_lib.rng import generator

SHAPES = {"dense": (4, 3), "dense_bias": (4,), "filters": (5, 2, 3, 3), "scale": (5,)}


def params(stream="w", factor=1.0):
    g = generator(0, stream)
    return {n: factor * torch.randn(s, generator=g, dtype=torch.float64) for n, s in SHAPES.items()}


def close(ours, theirs, **tolerance):
    assert list(ours) == list(theirs)
    torch.testing.assert_close(ours, theirs, **({"rtol": 1e-12, "atol": 1e-12} | tolerance))


@pytest.mark.parametrize("which", ["weights", "all"])
@pytest.mark.parametrize("kind", [L1, L2])
def test_gradient_is_that_of_the_loss(kind, which):
    # catches: 2λw for λw; |w| for sign(w); another choice of tensors in the two
    leaves = {n: w.requires_grad_() for n, w in params().items()}
    loss = kind(0.3, which).loss(leaves)
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    close(kind(0.3, which).gradient(leaves), dict(zip(leaves, grads, strict=True)))


@pytest.mark.parametrize(
    ("kind", "by_hand"), [(L1, lambda w: 0.3 * w.abs().sum()), (L2, lambda w: 0.15 * (w**2).sum())]
)
def test_size_of_the_penalty_and_what_it_counts(kind, by_hand):
    # catches: the ½, the square, biases in the penalty
    p = params()
    weights = by_hand(p["dense"]) + by_hand(p["filters"])
    torch.testing.assert_close(kind(0.3).loss(p), weights, rtol=1e-12, atol=0)
    everything = sum(by_hand(w) for w in p.values())
    torch.testing.assert_close(kind(0.3, "all").loss(p), everything, rtol=1e-12, atol=0)
    assert kind(0.3).loss({"bias": torch.ones(3)}) == 0
    assert set(penalised(p)) == {"dense", "filters"}
    assert set(penalised(p, "all")) == set(p)


def test_l1_leaves_a_weight_at_zero_alone():
    # catches: sign(0) taken for ±1, or a division by it
    zero = {"w": torch.tensor([[0.0, -2.0]], dtype=torch.float64)}
    assert L1(0.3).gradient(zero)["w"].tolist() == [[0.0, -0.3]]


def test_biases_and_scales_of_a_model_are_left_out():
    # catches: a rule by name that misses a normalisation layer
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3), nn.LayerNorm(3))
    assert set(penalised(dict(model.named_parameters()))) == {"0.weight", "3.weight"}


def walk(rule, steps, penalty=None, constraint=None):
    """Return the parameters after some steps of a rule on each tensor, with the library's order of things."""
    now = params()
    states = {n: rule.init(w) for n, w in now.items()}
    for t in range(1, steps + 1):
        grads = params(f"g{t}")
        if penalty is not None:
            grads = {n: g + penalty.gradient(now)[n] for n, g in grads.items()}
        moved = {n: rule.step(w, grads[n], states[n], t) for n, w in now.items()}
        after, states = {n: w for n, (w, _) in moved.items()}, {n: s for n, (_, s) in moved.items()}
        now = after if constraint is None else constraint(now, after, rule.lr)
    return now


def torch_walks(make, steps):
    now = {n: nn.Parameter(w) for n, w in params().items()}
    optimizer = make(list(now.values()))
    for t in range(1, steps + 1):
        for n, g in params(f"g{t}").items():
            now[n].grad = g
        optimizer.step()
    return {n: p.detach() for n, p in now.items()}


def test_l2_is_torchs_weight_decay_of_sgd_and_adam():
    # catches: a factor 2, and weight decay of Adam taken for the decoupled one
    for rule, make in (
        (SGD(0.1), lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.3)),
        (Adam(0.1), lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.3)),
    ):
        close(walk(rule, 20, L2(0.3, "all")), torch_walks(make, 20))


def test_decoupled_decay_makes_adamw_of_adam():
    # catches: the decay of the moved weight, lr left out, a plus; and the choice of weights
    decay = WeightDecay(0.3, "all")
    close(walk(Adam(0.1), 20, constraint=decay), walk(AdamW(0.1, weight_decay=0.3), 20))
    close(walk(Adam(0.1), 20, constraint=decay), torch_walks(lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.3), 20))
    weights_only = walk(Adam(0.1), 20, constraint=WeightDecay(0.3))
    plain, decayed = walk(Adam(0.1), 20), walk(Adam(0.1), 20, constraint=decay)
    for n, w in weights_only.items():
        torch.testing.assert_close(w, (decayed if n in ("dense", "filters") else plain)[n], rtol=1e-12, atol=1e-12)


def test_decoupled_decay_is_the_l2_penalty_for_sgd_only():
    close(walk(SGD(0.1), 20, constraint=WeightDecay(0.3)), walk(SGD(0.1), 20, L2(0.3)))
    adam, adamw = walk(Adam(0.1), 20, L2(0.3)), walk(Adam(0.1), 20, constraint=WeightDecay(0.3))
    assert (adam["dense"] - adamw["dense"]).abs().max() > 1e-3


def test_max_norm_pulls_back_long_units_only():
    # catches: a norm over the whole tensor or over the columns, short rows made longer, biases touched
    p = params(factor=2.0)
    kept = MaxNorm(2.0)(None, p, 0.1)
    assert list(kept) == list(p)
    for name in ("dense", "filters"):
        before, after = p[name].flatten(1), kept[name].flatten(1)
        for row, new in zip(before, after, strict=True):
            expected = row if row.norm() <= 2 else 2 * row / row.norm()
            torch.testing.assert_close(new, expected, rtol=1e-12, atol=0)
        assert kept[name].shape == p[name].shape
    lengths = p["dense"].norm(dim=1)
    assert lengths.min() < 2 < lengths.max()
    assert kept["dense_bias"] is p["dense_bias"]
    assert torch.equal(MaxNorm(1.0)(None, {"w": torch.zeros(2, 2)}, 0.1)["w"], torch.zeros(2, 2))


def test_a_stack_of_runs_is_the_runs():
    # catches: a count of axes, or a norm, that takes in the axis of runs; a check that looks at a mapped tensor
    stack = {n: torch.stack([w, 3 * w]) for n, w in params().items()}
    values = torch.tensor([0.3, 0.7], dtype=torch.float64)

    def make(kind, value):
        thing = object.__new__(kind)
        thing.__dict__.update({"strength": value, "limit": value, "which": "weights"})
        return thing

    def run(p, value):
        return (
            make(L1, value).gradient(p),
            make(L2, value).gradient(p),
            make(L1, value).loss(p),
            make(L2, value).loss(p),
            make(WeightDecay, value)(p, {n: 2 * w for n, w in p.items()}, 0.1),
            make(MaxNorm, value)(p, p, 0.1),
        )

    stacked = vmap(run)(stack, values)
    for i in range(2):
        alone = run({n: w[i] for n, w in stack.items()}, values[i].item())
        for ours, theirs in zip(stacked, alone, strict=True):
            ours = {n: w[i] for n, w in ours.items()} if isinstance(ours, dict) else ours[i]
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_nothing_is_changed_in_place():
    p, kept = params(), params()
    for use in (L1(0.3).gradient, L2(0.3).gradient, L1(0.3).loss, L2(0.3).loss):
        use(p)
    WeightDecay(0.3)(p, p, 0.1)
    MaxNorm(0.3)(p, p, 0.1)
    close(p, kept, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [L1, L2, WeightDecay])
def test_bad_values(kind):
    kind(0.0)
    for strength in (-0.1, float("nan"), torch.tensor([0.1, -0.1])):
        with pytest.raises(ValueError, match="strength must be ≥ 0 and finite"):
            kind(strength)
    with pytest.raises(ValueError, match="unknown choice of which 'weight': did you mean 'weights'"):
        kind(0.1, "weight")
    with pytest.raises(ValueError, match="limit must be > 0"):
        MaxNorm(0.0)
