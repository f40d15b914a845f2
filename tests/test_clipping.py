import pytest
import torch
from torch import nn
from torch.func import vmap
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from course_lib.clipping import ClipNorm, ClipNormPerTensor, ClipValue
from course_lib.rng import generator

KINDS = [ClipValue, ClipNorm, ClipNormPerTensor]


def gradients(scale=1.0):
    g = generator(0)
    return {n: scale * torch.randn(s, generator=g, dtype=torch.float64) for n, s in (("w", (4, 3)), ("b", (3,)))}


def torch_clips(grads, kind, limit):
    params = [nn.Parameter(torch.zeros_like(g)) for g in grads.values()]
    for p, g in zip(params, grads.values(), strict=True):
        p.grad = g.clone()
    if kind is ClipValue:
        clip_grad_value_(params, limit)
    elif kind is ClipNorm:
        clip_grad_norm_(params, limit)
    else:
        for p in params:
            clip_grad_norm_(p, limit)
    return {name: p.grad for name, p in zip(grads, params, strict=True)}


@pytest.mark.parametrize("limit", [0.1, 1.0, 3.0, 100.0])
@pytest.mark.parametrize("kind", KINDS)
def test_clipping_agrees_with_torch(kind, limit):
    # catches: a norm per tensor for the global one, the 1e-6 left out, short gradients made longer
    for scale in (1.0, 1e-7, 1e4):
        grads = gradients(scale)
        ours, theirs = kind(limit)(grads), torch_clips(grads, kind, limit)
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
        assert list(ours) == list(grads)


def test_the_lectures_example():
    # lecture C: (0.9, 100) by value is (0.9, 1), by norm (0.009, 1): the direction stays
    g = {"w": torch.tensor([0.9, 100.0])}
    assert ClipValue(1.0)(g)["w"].tolist() == pytest.approx([0.9, 1.0])
    assert ClipNorm(1.0)(g)["w"].tolist() == pytest.approx([0.0089996, 0.9999595], abs=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_each_run_has_its_own_limit_and_norm(kind):
    # catches: a norm over the axis of runs; a limit taken from a neighbour; inputs changed in place
    grads = {name: torch.stack([g, 5 * g, 0.01 * g]) for name, g in gradients().items()}
    kept = {name: g.clone() for name, g in grads.items()}
    limits = torch.tensor([0.5, 2.0, 0.5], dtype=torch.float64)

    def run(g, limit):
        clip = object.__new__(kind)  # unchecked, as the sweeps do it: a mapped tensor can't be looked at
        object.__setattr__(clip, "limit", limit)
        return clip(g)

    stacked = vmap(run)(grads, limits)
    for i, limit in enumerate(limits.tolist()):
        alone = kind(limit)({name: g[i] for name, g in grads.items()})
        torch.testing.assert_close({name: g[i] for name, g in stacked.items()}, alone, rtol=1e-12, atol=0)
    torch.testing.assert_close(grads, kept, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_clip_and_bad_limits(kind):
    assert kind(1.0)({}) == {}
    zero = {"w": torch.zeros(2)}
    assert torch.equal(kind(1.0)(zero)["w"], zero["w"])
    for limit in (0.0, -1.0, float("nan"), float("inf"), torch.tensor([1.0, 0.0])):
        with pytest.raises(ValueError, match="limit must be > 0 and finite"):
            kind(limit)
    # catches: limits of several runs that broadcast over the axes of a gradient
    with pytest.raises(ValueError, match=r"limit must be one number, got a tensor of shape \(2,\): .* grid"):
        kind(torch.tensor([1.0, 2.0]))
    assert kind(torch.tensor(1.0))(zero).keys() == zero.keys()


def test_the_direction_that_each_kind_keeps():
    # catches: a global norm where one per tensor is meant, and the reverse
    grads = gradients(10.0)
    cosine = {}
    for kind in KINDS:
        clipped = kind(0.5)(grads)
        pairs = [(torch.cat([t.flatten() for t in g.values()]), g["b"]) for g in (grads, clipped)]
        cosine[kind] = [torch.cosine_similarity(a, b, dim=0).item() for a, b in zip(*pairs, strict=True)]
    assert cosine[ClipNorm] == pytest.approx([1, 1], abs=1e-12)
    assert cosine[ClipNormPerTensor][1] == pytest.approx(1, abs=1e-12)
    assert cosine[ClipNormPerTensor][0] < 0.99
    assert cosine[ClipValue][0] < 0.99
