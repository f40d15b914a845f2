"""Rules against what their papers print: SWATS's algorithm, AMSGrad's counter-example."""

import numpy as np
import pytest
import torch

from course_lib.optimizers import SWATS, Adam, AMSGrad, with_lr
from course_lib.rng import generator


def swats_of_the_paper(gradient, w, steps, lr, beta1, beta2, eps, threshold):
    """Keskar & Socher 2017, Algorithm 1, line by line. Returns (weights after each step, step of the switch, Λ)."""
    m, a, lam, big_lambda, v = np.zeros_like(w), np.zeros_like(w), 0.0, None, None
    phase, path, switched = "Adam", [], None
    for k in range(1, steps + 1):
        g = gradient(w, k)
        if phase == "SGD":
            v = beta1 * v + g
            w = w - (1 - beta1) * big_lambda * v
            path.append(w)
            continue
        m = beta1 * m + (1 - beta1) * g
        a = beta2 * a + (1 - beta2) * g * g
        p = -lr * np.sqrt(1 - beta2**k) / (1 - beta1**k) * m / (np.sqrt(a) + eps)
        w = w + p
        if p @ g != 0:
            gamma = (p @ p) / -(p @ g)
            lam = beta2 * lam + (1 - beta2) * gamma
            if k > 1 and abs(lam / (1 - beta2**k) - gamma) < threshold:
                phase, switched, v, big_lambda = "SGD", k, np.zeros_like(w), lam / (1 - beta2**k)
        path.append(w)
    return np.array(path), switched, big_lambda


NOISE = torch.randn(200, 12, generator=generator(1), dtype=torch.float64).numpy()
CURVATURE = np.linspace(0.5, 4, 12)


def noisy_bowl(w, k):
    return CURVATURE * w + 0.1 * NOISE[k - 1]


def no_gradient_at_times(w, k):
    """A gradient of exactly 0 early on, where pᵀg = 0 and γ would be 0 / 0."""
    return noisy_bowl(w, k) * (k not in (1, 2, 7))


@pytest.mark.parametrize(
    ("gradient", "options", "switch"),
    [
        (noisy_bowl, (0.01, 0.9, 0.999, 1e-9, 1e-9), None),
        (noisy_bowl, (0.01, 0.9, 0.999, 1e-9, 1e-3), range(2, 3)),
        (noisy_bowl, (0.02, 0.9, 0.95, 1e-3, 1e-4), range(10, 150)),
        (noisy_bowl, (0.01, 0.0, 0.999, 1e-9, 3e-5), range(10, 150)),
        (no_gradient_at_times, (0.01, 0.9, 0.95, 1e-8, 1e-4), range(10, 150)),
        (lambda w, k: CURVATURE * w, (0.02, 0.9, 0.95, 1e-9, 1e-4), range(10, 150)),
    ],
    ids=["paper's defaults", "at the second step", "options", "without momentum", "zero gradients", "without noise"],
)
def test_swats_is_the_papers_algorithm(gradient, options, switch):
    # catches: a switch at k = 1; eps after the correction; a velocity that is not 0 at the switch; Λ without
    # its correction; (1 − β₁) left out; γ with the wrong sign; a switch that is taken back
    start = torch.randn(12, generator=generator(0), dtype=torch.float64)
    path, switched, rate = swats_of_the_paper(gradient, start.numpy(), 200, *options)
    assert switched is None if switch is None else switched in switch
    rule, w = SWATS(*options), start
    state = rule.init(w)
    for k in range(1, 201):
        before = state.m
        w, state = rule.step(w, torch.from_numpy(gradient(w.numpy(), k)), state, k)
        np.testing.assert_allclose(w.numpy(), path[k - 1], rtol=1e-12, atol=1e-12)
        assert (state.sgd != 0) == (switched is not None and k >= switched)
        assert switched is None or k <= switched or torch.equal(state.m, before)  # it rests in SGD's phase
    if rate is not None:
        assert state.sgd.item() * options[0] == pytest.approx(rate, rel=1e-12)


def test_swats_has_the_papers_defaults():
    assert SWATS() == SWATS(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-9, threshold=1e-9)


def test_swats_goes_on_with_a_schedule_after_the_switch():
    # catches: a learning rate that is forgotten once Λ is there
    start = torch.randn(12, generator=generator(0), dtype=torch.float64)
    rule = SWATS(0.02, 0.9, 0.95, 1e-3, 1e-4)
    w, state = start, rule.init(start)
    for k in range(1, 201):
        w, state = rule.step(w, torch.from_numpy(noisy_bowl(w.numpy(), k)), state, k)
    g = torch.ones_like(w)
    slow, fast = (SWATS(lr, 0.9, 0.95, 1e-3, 1e-4).step(w, g, state, 201)[0] for lr in (0.01, 0.02))
    torch.testing.assert_close(w - slow, (w - fast) / 2, rtol=1e-12, atol=1e-12)


def play(rule, gradients, steps):
    """Return x after online steps x ← Π(x − …) on [−1, 1] from 0, at the paper's rate lr / √t."""
    x = torch.zeros(1, dtype=torch.float64)
    state = rule.init(x)
    for t in range(1, steps + 1):
        x, state = with_lr(rule, rule.lr / t**0.5).step(x, gradients(t), state, t)
        x = x.clamp(-1, 1)
    return x


@pytest.mark.parametrize("c", [3.0, 5.0])
def test_amsgrad_on_the_published_counter_example(c):
    # Reddi et al. 2018, Theorem 1: f_t(x) = C x every third step, else −x; β₁ = 0, β₂ = 1/(1 + C²), α < √(1−β₂).
    # The sum over three steps rises with x, so −1 is best; Adam goes to +1. Catches: a maximum that is not kept.
    beta2 = 1 / (1 + c * c)

    def gradients(t):
        return torch.full((1,), c if t % 3 == 1 else -1.0, dtype=torch.float64)

    options = {"lr": 0.5, "beta1": 0.0, "beta2": beta2, "eps": 0.0}
    plain = AMSGrad(**options, bias_correction=False)
    assert play(plain, gradients, 1000).item() < -0.99
    assert play(AMSGrad(**options), gradients, 1000).item() < -0.99
    assert play(Adam(**options), gradients, 1000).item() > 0.9

    class Forgetful(AMSGrad):
        def step(self, w, g, s, t):
            return super().step(w, g, s._replace(largest=0 * w), t)

    assert play(Forgetful(**options, bias_correction=False), gradients, 1000).item() > 0.9


def test_amsgrad_of_the_paper_corrects_nothing():
    # Alg. 2 in Python numbers, with momentum
    rule, w = AMSGrad(0.1, 0.9, 0.99, 0.0, bias_correction=False), torch.ones(1, dtype=torch.float64)
    state, x, m, v, largest = rule.init(w), 1.0, 0.0, 0.0, 0.0
    for t, g in enumerate((0.3, -2.0, 0.1, 0.2), start=1):
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        largest = max(largest, v)
        x -= 0.1 * m / largest**0.5
        w, state = rule.step(w, torch.tensor([g], dtype=torch.float64), state, t)
    assert w.item() == pytest.approx(x, rel=1e-12)
