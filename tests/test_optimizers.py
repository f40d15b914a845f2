import copy
import pickle

import pytest
import torch
from torch import nn

from course_lib.optimizers import SGD, Adam, Momentum, TorchOptimizer
from course_lib.rng import generator

# Every rule beside the torch optimiser that it must equal, with options other than the defaults too.
PAIRS = {
    "sgd": (SGD(0.03), lambda p: torch.optim.SGD(p, 0.03)),
    "momentum": (Momentum(0.03, 0.8), lambda p: torch.optim.SGD(p, 0.03, momentum=0.8)),
    "momentum 0": (Momentum(0.03, 0.0), lambda p: torch.optim.SGD(p, 0.03)),
    "adam": (Adam(), lambda p: torch.optim.Adam(p)),
    "adam, options": (Adam(0.1, 0.5, 0.9, 1e-3), lambda p: torch.optim.Adam(p, 0.1, (0.5, 0.9), 1e-3)),
}


def problem():
    """A noisy non-quadratic loss of a (4, 3) weight, so that no error cancels."""
    w = torch.randn(4, 3, generator=generator(0), dtype=torch.float64)
    noise = torch.randn(200, 4, 3, generator=generator(1), dtype=torch.float64)
    return w, noise


def gradient(w, noise_t):
    return torch.sin(3 * w) + w**3 + 0.3 * noise_t


@pytest.mark.parametrize("name", PAIRS)
def test_rule_agrees_with_torch(name):
    # catches (each tried): no bias correction, eps inside the root, a sign, t from 0, lr inside the velocity
    rule, make = PAIRS[name]
    w, noise = problem()
    theirs = nn.Parameter(w.clone())
    optimizer, state = make([theirs]), rule.init(w)
    for t, noise_t in enumerate(noise, start=1):
        theirs.grad = gradient(theirs.detach(), noise_t)
        optimizer.step()
        w, state = rule.step(w, gradient(w, noise_t), state, t)
        torch.testing.assert_close(w, theirs.detach(), rtol=1e-12, atol=1e-12)


def wrong_adams():
    """Adam with one mistake each: what the parity test has to tell from the right one."""

    class NoCorrection(Adam):
        def step(self, w, g, s, t):
            return super().step(w, g, s, 10**9)

    class EpsInside(Adam):
        def step(self, w, g, s, t):
            _, s = super().step(w, g, s, t)
            m_hat, v_hat = s.m / (1 - self.beta1**t), s.v / (1 - self.beta2**t)
            return w - self.lr * m_hat / (v_hat + self.eps).sqrt(), s

    class LateStep(Adam):
        def step(self, w, g, s, t):
            return super().step(w, g, s, t + 1)

    class WrongSign(Adam):
        def step(self, w, g, s, t):
            moved, s = super().step(w, g, s, t)
            return 2 * w - moved, s

    return [NoCorrection(), EpsInside(), LateStep(), WrongSign()]


@pytest.mark.parametrize("rule", wrong_adams(), ids=lambda r: type(r).__name__)
def test_parity_tells_a_wrong_adam_from_the_right_one(rule):
    w, noise = problem()
    wrong = right = w
    a, b = rule.init(w), Adam().init(w)
    for t, noise_t in enumerate(noise, start=1):
        wrong, a = rule.step(wrong, gradient(wrong, noise_t), a, t)
        right, b = Adam().step(right, gradient(right, noise_t), b, t)
    assert (wrong - right).abs().max() > 1e-11  # the parity test allows 1e-12


@pytest.mark.parametrize("name", PAIRS)
def test_adapter_agrees_with_torch_with_groups_scheduler_and_a_reload(name):
    # catches: a group's own lr ignored, state lost or cast in state_dict, a scheduler without effect
    rule, make = PAIRS[name]
    w, noise = problem()

    def run(build):
        a, b = nn.Parameter(w.clone()), nn.Parameter(w.clone())
        groups = [{"params": [a]}, {"params": [b], "lr": 0.01}]
        optimizer = build(groups)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 20, 0.5)
        for i, noise_t in enumerate(noise):
            if i == 50:
                saved, at = copy.deepcopy(optimizer.state_dict()), optimizer
                optimizer = build(groups)
                optimizer.load_state_dict(saved)
                scheduler.optimizer = optimizer
                del at
            for p in (a, b):
                p.grad = gradient(p.detach(), noise_t)
            optimizer.step()
            scheduler.step()
        return a.detach(), b.detach()

    for ours, theirs in zip(run(lambda g: TorchOptimizer(g, rule)), run(make), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_adapter_skips_parameters_without_gradient_and_calls_a_closure():
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = TorchOptimizer([a, b], SGD(0.1))

    def closure():
        optimizer.zero_grad()
        loss = (a**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 2
    assert torch.equal(b, torch.ones(2))
    torch.testing.assert_close(a.detach(), torch.full((2,), 0.8))
    # catches: a gradient that is not there taken for 0, which momentum would answer with a move
    optimizer = TorchOptimizer([b], Momentum(0.1))
    b.grad = torch.ones(2)
    optimizer.step()
    b.grad, before = None, b.detach().clone()
    optimizer.step()
    assert torch.equal(b, before)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SGD(0.0), "lr must be > 0"),
        (lambda: SGD(float("nan")), "lr must be > 0"),
        (lambda: SGD(float("inf")), "finite"),
        (lambda: Momentum(0.0), "lr must be > 0"),
        (lambda: Adam(0.0), "lr must be > 0"),
        (lambda: Adam(beta1=1.0), "beta1 must be in"),
        (lambda: Momentum(0.1, 1.0), "momentum must be in"),
        (lambda: Adam(beta2=-0.1), "beta2 must be in"),
        (lambda: Adam(eps=-1.0), "eps"),
        (lambda: Adam(lr=torch.tensor([0.1, -0.1])), "lr must be > 0"),
        (lambda: TorchOptimizer([{"params": [nn.Parameter(torch.ones(1))], "lr": -1.0}], SGD(0.1)), "lr must be > 0"),
    ],
)
def test_bad_hyperparameters(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_adapter_refuses_what_is_no_rule():
    with pytest.raises(TypeError, match="rule must have"):
        TorchOptimizer([nn.Parameter(torch.ones(1))], 0.1)


@pytest.mark.parametrize(
    "copy_of", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["deepcopy", "pickle"]
)
def test_a_copy_of_the_adapter_goes_on(copy_of):
    # catches: a rule that torch's own __getstate__ leaves behind
    p = nn.Parameter(torch.ones(2))
    optimizer = TorchOptimizer([p], Adam(0.1))
    for _ in range(2):
        p.grad = torch.ones(2)
        optimizer.step()
        optimizer = copy_of(optimizer)
        p = optimizer.param_groups[0]["params"][0]
    assert optimizer.state[p]["t"] == 2
    torch.testing.assert_close(p.detach(), torch.full((2,), 0.8))


def test_a_scheduler_may_end_at_rate_zero():
    # catches: lr > 0 demanded at every step, where a cosine schedule ends at 0
    p = nn.Parameter(torch.ones(2))
    optimizer = TorchOptimizer([p], SGD(0.1))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2)
    for _ in range(3):
        p.grad = torch.ones(2)
        optimizer.step()
        scheduler.step()
    torch.testing.assert_close(p.detach(), torch.full((2,), 1 - 0.1 - 0.05))
