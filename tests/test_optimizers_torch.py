"""Our rules as torch optimisers: groups, schedulers, reloads, copies; tensor by tensor and as one vector."""

import copy
import pickle
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from course_lib.optimizers import RULES, SGD, SWATS, Adam, AdamW, AMSGrad, Momentum, Nadam, TorchOptimizer
from course_lib.optimizers.descent import Velocity
from course_lib.rng import generator

BOTH = pytest.mark.parametrize("foreach", [False, True], ids=["each", "flat"])
COPIES = pytest.mark.parametrize(
    "copy_of", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["deepcopy", "pickle"]
)
PAIRS = {
    "sgd": (SGD(0.03), lambda p: torch.optim.SGD(p, 0.03)),
    "momentum": (Momentum(0.03, 0.8), lambda p: torch.optim.SGD(p, 0.03, momentum=0.8)),
    "adam": (Adam(0.1, 0.5, 0.9, 1e-3), lambda p: torch.optim.Adam(p, 0.1, (0.5, 0.9), 1e-3)),
    "adamw": (AdamW(0.1), lambda p: torch.optim.AdamW(p, 0.1)),
    "nadam": (Nadam(0.1), lambda p: torch.optim.NAdam(p, 0.1)),
    "amsgrad": (AMSGrad(0.1), lambda p: torch.optim.Adam(p, 0.1, amsgrad=True)),
}


@pytest.fixture(autouse=True)
def torch_counts_in_float64():
    # torch.optim.NAdam keeps its product of μ in the default dtype, which in float32 costs it 1e-7
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def draws(*shape, stream="w"):
    return torch.randn(shape, generator=generator(0, stream))


def gradient(w, noise_t):
    return torch.sin(3 * w) + w**3 + 0.3 * noise_t


@BOTH
@pytest.mark.parametrize("name", PAIRS)
def test_adapter_agrees_with_torch_with_groups_scheduler_and_a_reload(name, foreach):
    # catches: a group's own lr ignored, state lost or cast in state_dict, a scheduler without effect, a vector
    # that goes on with the old state after a reload
    rule, make = PAIRS[name]
    start, noise = [draws(4, 3), draws(3, stream="b"), draws(4, 3, stream="c")], draws(200, 4, 3, stream="noise")

    def run(build):
        params = [nn.Parameter(w.clone()) for w in start]
        groups = [{"params": params[:2]}, {"params": params[2:], "lr": 0.01}]
        optimizer = build(groups)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 20, 0.5)
        for i, noise_t in enumerate(noise):
            if i == 50:
                saved = copy.deepcopy(optimizer.state_dict())
                optimizer = build(groups)
                optimizer.load_state_dict(saved)
                scheduler.optimizer = optimizer
            for p in params:
                p.grad = gradient(p.detach(), noise_t[0] if p.ndim == 1 else noise_t)
            optimizer.step()
            scheduler.step()
        return [p.detach() for p in params]

    for ours, theirs in zip(run(lambda g: TorchOptimizer(g, rule, foreach=foreach)), run(make), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def three():
    """Parameters of two, one and no axes."""
    return [nn.Parameter(draws(4, 3)), nn.Parameter(draws(3, stream="b")), nn.Parameter(draws(1, stream="c")[0])]


def set_gradients(params, noise_t, skip=()):
    for i, p in enumerate(params):
        part = (noise_t[0, 0], noise_t[0], noise_t)[p.ndim].to(p)
        p.grad = None if i in skip else gradient(p.detach(), part)


@pytest.mark.parametrize("name", [n for n in RULES if n != "swats"])
def test_the_vector_form_takes_the_same_steps_and_shows_the_same_state(name):
    # catches: a state that is stale to whoever looks at it; parameters that change places; a shape lost
    seen = {}
    for foreach in (False, True):
        params, seen[foreach] = three(), []
        optimizer = TorchOptimizer(params, RULES[name](lr=0.1), foreach=foreach)
        for step, noise_t in enumerate(draws(5, 4, 3, stream="noise"), start=1):
            set_gradients(params, noise_t)
            optimizer.step()
            assert [optimizer.state[p]["t"] for p in params] == [step] * 3
            seen[foreach] += [p.detach().clone() for p in params]
            seen[foreach] += [
                torch.as_tensor(x).clone() for p in params for key, x in optimizer.state[p].items() if key != "t"
            ]
    torch.testing.assert_close(seen[True], seen[False], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", [SGD(0.1), Momentum(0.1), Nadam(0.1)], ids=lambda r: type(r).__name__)
def test_gradients_may_come_and_go(rule):
    # catches: a vector that keeps a parameter which has no gradient now, or another's step number
    ends = {}
    for foreach in (False, True):
        params = three()
        optimizer = TorchOptimizer(params, rule, foreach=foreach)
        for i, noise_t in enumerate(draws(30, 4, 3, stream="noise")):
            set_gradients(params, noise_t, skip={0: (1,), 1: (0, 1, 2), 2: (0,)}.get(i // 5, ()))
            optimizer.step()
        assert [optimizer.state[p]["t"] for p in params] == [20, 20, 25]
        ends[foreach] = [p.detach() for p in params]
    torch.testing.assert_close(ends[True], ends[False], rtol=1e-12, atol=1e-12)


@BOTH
def test_parameters_of_several_dtypes_and_a_step_set_to_zero(foreach):
    # catches: one vector of two dtypes, which would cast; a group without any gradient
    a, b, c = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2, dtype=torch.float32)), nn.Parameter(torch.ones(2))
    optimizer = TorchOptimizer([{"params": [a, b]}, {"params": [c]}], Momentum(0.1), foreach=foreach)
    for _ in range(2):
        a.grad, b.grad = torch.ones(2), torch.ones(2, dtype=torch.float32)
        optimizer.step()
    assert (a.dtype, b.dtype) == (torch.float64, torch.float32)
    assert optimizer.state[b]["v"].dtype == torch.float32
    torch.testing.assert_close(a.detach(), torch.full((2,), 1 - 0.1 - 0.19))
    assert torch.equal(c, torch.ones(2))


@BOTH
def test_adapter_skips_parameters_without_gradient_and_calls_a_closure(foreach):
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = TorchOptimizer([a, b], SGD(0.1), foreach=foreach)

    def closure():
        optimizer.zero_grad()
        loss = (a**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 2
    assert torch.equal(b, torch.ones(2))
    torch.testing.assert_close(a.detach(), torch.full((2,), 0.8))
    # catches: a gradient that is not there taken for 0, which momentum would answer with a move
    optimizer = TorchOptimizer([b], Momentum(0.1), foreach=foreach)
    b.grad = torch.ones(2)
    optimizer.step()
    b.grad, before = None, b.detach().clone()
    optimizer.step()
    assert torch.equal(b, before)


@BOTH
def test_weights_that_others_change_are_taken_as_they_are(foreach):
    # catches: a vector that remembers the weights of the step before; non-contiguous parameters and gradients
    p = nn.Parameter(draws(3, 4).T)
    q = nn.Parameter(torch.ones(1))
    optimizer = TorchOptimizer([p, q], Momentum(0.5, momentum=0.0), foreach=foreach)
    for _ in range(2):
        p.data.fill_(1.0)
        p.grad = torch.arange(12.0).view(3, 4).T
        q.grad = torch.ones(1)
        optimizer.step()
        torch.testing.assert_close(p.detach(), 1 - 0.5 * torch.arange(12.0).view(3, 4).T)


@BOTH
@COPIES
def test_a_copy_of_the_adapter_goes_on(copy_of, foreach):
    # catches: a rule that torch's own __getstate__ leaves behind; a vector shared with the original
    p = nn.Parameter(torch.ones(2))
    optimizer = TorchOptimizer([p], Adam(0.1), foreach=foreach)
    for _ in range(2):
        p.grad = torch.ones(2)
        optimizer.step()
        kept, optimizer = optimizer, copy_of(optimizer)
        p = optimizer.param_groups[0]["params"][0]
    assert optimizer.state[p]["t"] == 2
    torch.testing.assert_close(p.detach(), torch.full((2,), 0.8))
    p.grad = torch.ones(2)
    optimizer.step()
    first = kept.param_groups[0]["params"][0]
    torch.testing.assert_close(first.detach(), torch.full((2,), 0.8))
    assert kept.state[first]["m"][0] == pytest.approx(0.19)


@BOTH
def test_a_group_may_be_added_later(foreach):
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = TorchOptimizer([a], Momentum(0.1), foreach=foreach)
    for i in range(2):
        a.grad = b.grad = torch.ones(2)
        optimizer.step()
        if i == 0:
            optimizer.add_param_group({"params": [b], "lr": 0.2})
    torch.testing.assert_close(a.detach(), torch.full((2,), 1 - 0.1 - 0.19))
    torch.testing.assert_close(b.detach(), torch.full((2,), 0.8))


@BOTH
def test_a_scheduler_may_end_at_rate_zero(foreach):
    # catches: lr > 0 demanded at every step, where a cosine schedule ends at 0
    p = nn.Parameter(torch.ones(2))
    optimizer = TorchOptimizer([p], Momentum(0.1, momentum=0.0), foreach=foreach)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2)
    for _ in range(3):
        p.grad = torch.ones(2)
        optimizer.step()
        scheduler.step()
    torch.testing.assert_close(p.detach(), torch.full((2,), 1 - 0.1 - 0.05))


@dataclass(frozen=True)
class OfAReader:
    """Momentum as a reader writes it: the weight is a new tensor, and there is no `out`."""

    lr: float = 0.1

    def init(self, w):
        return Velocity(torch.zeros_like(w))

    def step(self, w, g, s, t):
        v = 0.9 * s.v + g
        return w - self.lr * v, Velocity(v)


@BOTH
def test_a_rule_that_only_returns_the_weight_moves_it_too(foreach):
    # catches: a result that is taken for written
    ends = []
    for rule in (OfAReader(), Momentum(0.1)):
        params = three()
        optimizer = TorchOptimizer(params, rule, foreach=foreach)
        for noise_t in draws(5, 4, 3, stream="noise"):
            set_gradients(params, noise_t)
            optimizer.step()
        ends.append([p.detach() for p in params])
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-12)


def test_the_state_of_either_form_goes_on_in_the_other():
    # catches: a number where the vector form wants a tensor; a product of momenta that starts anew
    ends = []
    for forms in ((False, False), (True, False), (False, True)):
        params, saved = three(), None
        for i, noise_t in enumerate(draws(6, 4, 3, stream="noise")):
            if i % 3 == 0:
                optimizer = TorchOptimizer(params, Nadam(0.1), foreach=forms[i // 3])
                if saved is not None:
                    optimizer.load_state_dict(saved)
            set_gradients(params, noise_t)
            optimizer.step()
            saved = optimizer.state_dict()
        ends.append([p.detach() for p in params])
    torch.testing.assert_close(ends[1:], [ends[0]] * 2, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("rule", "calls"), [(SGD(0.1), 3), (Momentum(0.1), 1)], ids=["without state", "with state"])
def test_on_a_cpu_tensors_are_joined_only_for_a_rule_with_state(rule, calls, monkeypatch):
    # catches: gathering weights and gradients for a rule that is one operation
    seen, step = [], type(rule).step
    monkeypatch.setattr(type(rule), "step", lambda self, *a, out=None: (seen.append(1), step(self, *a, out=out))[1])
    params = three()
    set_gradients(params, draws(4, 3))
    TorchOptimizer([{"params": params}, {"params": []}], rule, foreach=True).step()
    assert len(seen) == calls


def test_a_rule_of_whole_vectors_sees_all_tensors_of_a_group():
    # catches: SWATS tensor by tensor, whose dot products would be those of one tensor
    params = three()
    whole = torch.cat([p.detach().flatten() for p in params])
    rule = SWATS(0.01, threshold=1e-3)
    optimizer, state = TorchOptimizer(params, rule), rule.init(whole)
    for t, noise_t in enumerate(draws(100, 4, 3, stream="noise"), start=1):
        set_gradients(params, noise_t)
        g = torch.cat([p.grad.flatten() for p in params])
        whole, state = rule.step(whole, g, state, t)
        if t == 50:  # a reload hands on the numbers that belong to all tensors together
            saved = optimizer.state_dict()
            optimizer = TorchOptimizer(params, rule)
            optimizer.load_state_dict(saved)
        optimizer.step()
        torch.testing.assert_close(torch.cat([p.detach().flatten() for p in params]), whole, rtol=1e-12, atol=1e-12)
    assert state.sgd != 0  # it did switch


def test_adapter_refuses_what_is_no_rule_and_a_group_out_of_range():
    for no_rule in (0.1, SimpleNamespace(init=len), SimpleNamespace(step=len)):
        with pytest.raises(TypeError, match="rule must have"):
            TorchOptimizer([nn.Parameter(torch.ones(1))], no_rule)
    with pytest.raises(ValueError, match="lr must be > 0"):
        TorchOptimizer([{"params": [nn.Parameter(torch.ones(1))], "lr": -1.0}], SGD(0.1))
