"""Every rule against torch.optim, and what the parity can tell apart."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from course_lib import optimizers
from course_lib.optimizers import (
    RULES,
    SGD,
    SWATS,
    Adadelta,
    Adagrad,
    Adam,
    AdaMax,
    AdamW,
    AMSGrad,
    Momentum,
    Nadam,
    Nesterov,
    RMSProp,
    with_lr,
    with_values,
)
from course_lib.optimizers.rule import average, plus, power
from course_lib.rng import generator

# Every rule beside the torch optimiser that it must equal, with options other than the defaults too.
PAIRS = {
    "sgd": (SGD(0.03), lambda p: torch.optim.SGD(p, 0.03)),
    "sgd, defaults": (SGD(), lambda p: torch.optim.SGD(p, 0.01)),
    "momentum": (Momentum(0.03, 0.8), lambda p: torch.optim.SGD(p, 0.03, momentum=0.8)),
    "momentum, defaults": (Momentum(), lambda p: torch.optim.SGD(p, 0.01, momentum=0.9)),
    "momentum 0": (Momentum(0.03, 0.0), lambda p: torch.optim.SGD(p, 0.03)),
    "nesterov": (Nesterov(0.03, 0.8), lambda p: torch.optim.SGD(p, 0.03, momentum=0.8, nesterov=True)),
    "adagrad": (Adagrad(), lambda p: torch.optim.Adagrad(p)),
    "adagrad, options": (Adagrad(0.1, 1e-3), lambda p: torch.optim.Adagrad(p, 0.1, eps=1e-3)),
    "rmsprop": (RMSProp(), lambda p: torch.optim.RMSprop(p)),
    "rmsprop, options": (RMSProp(0.03, 0.9, 1e-3), lambda p: torch.optim.RMSprop(p, 0.03, 0.9, 1e-3)),
    "adadelta": (Adadelta(), lambda p: torch.optim.Adadelta(p)),
    "adadelta, options": (Adadelta(0.5, 0.95, 1e-3), lambda p: torch.optim.Adadelta(p, 0.5, 0.95, 1e-3)),
    "adam": (Adam(), lambda p: torch.optim.Adam(p)),
    "adam, options": (Adam(0.1, 0.5, 0.9, 1e-3), lambda p: torch.optim.Adam(p, 0.1, (0.5, 0.9), 1e-3)),
    "adam without momentum": (Adam(0.1, 0.0, 0.99), lambda p: torch.optim.Adam(p, 0.1, (0.0, 0.99))),
    "adamw": (AdamW(), lambda p: torch.optim.AdamW(p)),
    "adamw, options": (
        AdamW(0.1, 0.5, 0.9, 1e-3, 0.3),
        lambda p: torch.optim.AdamW(p, 0.1, (0.5, 0.9), 1e-3, weight_decay=0.3),
    ),
    "adamax": (AdaMax(), lambda p: torch.optim.Adamax(p)),
    "adamax, options": (AdaMax(0.1, 0.5, 0.9, 1e-3), lambda p: torch.optim.Adamax(p, 0.1, (0.5, 0.9), 1e-3)),
    "nadam": (Nadam(), lambda p: torch.optim.NAdam(p)),
    "nadam, options": (
        Nadam(0.1, 0.5, 0.9, 1e-3, 0.05),
        lambda p: torch.optim.NAdam(p, 0.1, (0.5, 0.9), 1e-3, momentum_decay=0.05),
    ),
    "amsgrad": (AMSGrad(), lambda p: torch.optim.Adam(p, amsgrad=True)),
    "amsgrad, options": (
        AMSGrad(0.1, 0.5, 0.9, 1e-3),
        lambda p: torch.optim.Adam(p, 0.1, (0.5, 0.9), 1e-3, amsgrad=True),
    ),
}


@pytest.fixture(autouse=True)
def torch_counts_in_float64():
    # torch.optim.NAdam keeps its product of μ in the default dtype, which in float32 costs it 1e-7
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def problem():
    """A noisy non-quadratic loss of a (4, 3) weight, so that no error cancels."""
    w = torch.randn(4, 3, generator=generator(0), dtype=torch.float64)
    noise = torch.randn(200, 4, 3, generator=generator(1), dtype=torch.float64)
    return w, noise


def gradient(w, noise_t):
    return torch.sin(3 * w) + w**3 + 0.3 * noise_t


def descend(rule):
    """Return the weights after each of the 200 steps of a rule on the problem, (200, 4, 3)."""
    w, noise = problem()
    state, path = rule.init(w), []
    for t, noise_t in enumerate(noise, start=1):
        w, state = rule.step(w, gradient(w, noise_t), state, t)
        path.append(w)
    return torch.stack(path)


def torch_descends(make):
    w, noise = problem()
    p = nn.Parameter(w.clone())
    optimizer, path = make([p]), []
    for noise_t in noise:
        p.grad = gradient(p.detach(), noise_t)
        optimizer.step()
        path.append(p.detach().clone())
    return torch.stack(path)


@pytest.mark.parametrize("name", PAIRS)
def test_rule_agrees_with_torch(name):
    # catches (each tried, below): no bias correction, eps inside the root, a sign, t from 0, a missing abs …
    rule, make = PAIRS[name]
    torch.testing.assert_close(descend(rule), torch_descends(make), rtol=1e-12, atol=1e-12)


def test_every_rule_but_swats_has_its_torch_counterpart():
    # catches: a rule of the table that no pair holds to torch (SWATS is held to the paper elsewhere)
    assert {type(rule) for rule, _ in PAIRS.values()} == set(RULES.values()) - {SWATS}


def mutants():
    """Each rule with one mistake: what parity, at 1e-12, has to tell from the right one."""

    def mistake(rule, name, step):
        wrong = type(name, (type(rule),), {"step": step, "right": rule})
        return pytest.param(wrong(**vars(rule)), id=f"{type(rule).__name__}: {name}")

    def as_if_at(shift):
        return lambda self, w, g, s, t: self.right.step(w, g, s, t + shift)

    def uphill(self, w, g, s, t):
        moved, s = self.right.step(w, g, s, t)
        return 2 * w - moved, s

    def with_other_gradient(change):
        return lambda self, w, g, s, t: self.right.step(w, change(g), s, t)

    for name, (rule, _) in PAIRS.items():
        if "," not in name:
            yield mistake(rule, f"{name}, uphill", uphill)
    for rule in (Adam(), AdamW(), AdaMax(), Nadam(), AMSGrad()):
        yield mistake(rule, "t from 0, shifted by one", as_if_at(1))
        yield mistake(rule, "no correction", as_if_at(10**9))

    def lr_in_velocity(self, w, g, s, t):
        v = self.momentum * s.v + (1 - self.momentum) * g
        return w - self.lr * v, type(s)(v)

    def only_velocity(self, w, g, s, t):
        return Momentum.step(self, w, g, s, t)

    def looks_back(self, w, g, s, t):
        v = self.momentum * s.v + g
        return w - self.lr * (g + self.momentum * s.v), type(s)(v)

    yield mistake(Momentum(), "dampened", lr_in_velocity)
    yield mistake(Nesterov(), "plain momentum", only_velocity)
    yield mistake(Nesterov(), "old velocity", looks_back)

    def mean_of_squares(self, w, g, s, t):
        v = s.v + (g * g - s.v) / t
        return w - self.lr * g / (v.sqrt() + self.eps), type(s)(v)

    def sum_eps_inside(self, w, g, s, t):
        v = s.v + g * g
        return w - self.lr * g / (v + self.eps).sqrt(), type(s)(v)

    def sum_no_root(self, w, g, s, t):
        v = s.v + g * g
        return w - self.lr * g / (v + self.eps), type(s)(v)

    yield mistake(Adagrad(), "lecture B's mean", mean_of_squares)
    yield mistake(Adagrad(0.1, 1e-3), "eps inside", sum_eps_inside)
    yield mistake(Adagrad(), "no root", sum_no_root)

    def mean_eps_inside(self, w, g, s, t):
        v = average(s.v, g * g, self.beta)
        return w - self.lr * g / (v + self.eps).sqrt(), type(s)(v)

    def corrected(self, w, g, s, t):
        v = average(s.v, g * g, self.beta)
        return w - self.lr * g / ((v / (1 - self.beta**t)).sqrt() + self.eps), type(s)(v)

    def old_mean(self, w, g, s, t):
        return w - self.lr * g / (s.v.sqrt() + self.eps), type(s)(average(s.v, g * g, self.beta))

    yield mistake(RMSProp(), "eps inside", mean_eps_inside)
    yield mistake(RMSProp(), "corrected", corrected)
    yield mistake(RMSProp(), "mean of the step before", old_mean)

    def eps_outside(self, w, g, s, t):
        v = average(s.v, g * g, self.rho)
        delta = (s.d.sqrt() + self.eps) / (v.sqrt() + self.eps) * g
        return w - self.lr * delta, type(s)(v, average(s.d, delta * delta, self.rho))

    def lr_in_moves(self, w, g, s, t):
        _, new = self.right.step(w, g, s, t)
        delta = self.lr * (s.d + self.eps).sqrt() / (new.v + self.eps).sqrt() * g
        return w - delta, type(s)(new.v, average(s.d, delta * delta, self.rho))

    yield mistake(Adadelta(), "eps outside", eps_outside)
    yield mistake(Adadelta(0.5), "lr inside the moves", lr_in_moves)

    def adam_eps_inside(self, w, g, s, t):
        _, new = self.right.step(w, g, s, t)
        m_hat, v_hat = new.m / (1 - self.beta1**t), new[-1] / (1 - self.beta2**t)
        return w - self.lr * m_hat / (v_hat + self.eps).sqrt(), new

    def eps_before_correction(self, w, g, s, t):
        _, new = self.right.step(w, g, s, t)
        root = (new.v.sqrt() + self.eps) / (1 - self.beta2**t) ** 0.5
        return w - self.lr * new.m / (1 - self.beta1**t) / root, new

    yield mistake(Adam(), "eps inside", adam_eps_inside)
    yield mistake(Adam(), "eps before the correction", eps_before_correction)
    yield mistake(AMSGrad(), "eps inside", adam_eps_inside)

    def decays_by_lambda(self, w, g, s, t):
        moved, s = self.right.step(w, g, s, t)
        return moved - (1 - self.lr) * self.weight_decay * w, s

    def decays_after(self, w, g, s, t):
        moved, s = Adam.step(self, w, g, s, t)
        return moved - self.lr * self.weight_decay * moved, s

    yield mistake(AdamW(), "L2 penalty", lambda self, w, g, s, t: Adam.step(self, w, g + self.weight_decay * w, s, t))
    yield mistake(AdamW(), "decay without lr", decays_by_lambda)
    yield mistake(AdamW(), "decay of the moved weight", decays_after)

    def no_abs(self, w, g, s, t):
        m = average(s.m, g, self.beta1)
        u = torch.maximum(self.beta2 * s.v, g + self.eps)
        return w - self.lr / (1 - self.beta1**t) * m / u, type(s)(m, u)

    def no_eps(self, w, g, s, t):
        return replace(self.right, eps=0.0).step(w, g, s, t)

    yield mistake(AdaMax(), "no absolute value", no_abs)
    yield mistake(AdaMax(), "no eps", no_eps)

    def textbook(self, w, g, s, t):
        m, v = average(s.m, g, self.beta1), average(s.v, g * g, self.beta2)
        m_hat = self.beta1 * m / (1 - self.beta1**t) + (1 - self.beta1) * g / (1 - self.beta1**t)
        return w - self.lr * m_hat / ((v / (1 - self.beta2**t)).sqrt() + self.eps), type(s)(m, v, s.product)

    yield mistake(Nadam(), "μ constant", textbook)

    def optax(self, w, g, s, t):
        m, v = average(s.m, g, self.beta1), average(s.v, g * g, self.beta2)
        largest = torch.maximum(s.largest, v / (1 - self.beta2**t))
        return w - self.lr * m / (1 - self.beta1**t) / (largest.sqrt() + self.eps), type(s)(m, v, largest)

    yield mistake(AMSGrad(), "plain Adam", lambda self, w, g, s, t: self.right.step(w, g, s._replace(largest=0 * w), t))
    yield mistake(AMSGrad(), "corrected before the maximum", optax)
    yield mistake(AMSGrad(), "not corrected", lambda self, *a: replace(self.right, bias_correction=False).step(*a))


@pytest.mark.parametrize("wrong", [*mutants()])
def test_parity_tells_a_mistake_from_the_right_rule(wrong):
    # a NaN is a difference too: it would fail the parity
    difference = (descend(wrong) - descend(wrong.right)).abs().max()
    assert not difference <= 1e-11  # the parity test allows 1e-12


def test_adamax_without_eps_is_the_papers():
    # Kingma & Ba, Alg. 2, in Python numbers; catches: a correction of u, a root
    gradients, w, m, u = (0.3, -2.0, 0.1), 1.0, 0.0, 0.0
    rule = AdaMax(0.1, eps=0.0)
    ours = torch.tensor([1.0])
    state = rule.init(ours)
    for t, g in enumerate(gradients, start=1):
        m, u = 0.9 * m + 0.1 * g, max(0.999 * u, abs(g))
        w -= 0.1 / (1 - 0.9**t) * m / u
        ours, state = rule.step(ours, torch.tensor([g]), state, t)
    assert ours.item() == pytest.approx(w, rel=1e-12)


def test_nadam_with_a_fast_momentum_is_the_textbook_form():
    # catches: 0.96 taken for another number, the ½ left out (both vanish here but not in the parity test)
    rule = Nadam(0.1, momentum_decay=1e4)
    w = torch.tensor([1.0])
    state, m, v = rule.init(w), 0.0, 0.0
    for t, g in enumerate((0.3, -2.0, 0.1), start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        m_hat = 0.9 * m / (1 - 0.9 ** (t + 1)) + 0.1 * g / (1 - 0.9**t)
        expected = w.item() - 0.1 * m_hat / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
        w, state = rule.step(w, torch.tensor([g]), state, t)
        assert w.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("make", [Momentum, Nesterov], ids=lambda c: c.__name__)
def test_the_lectures_form_of_momentum_makes_the_same_path(make):
    # the docstring's statement; Nesterov's lecture form is seen at its look-ahead points
    lr, mu = 0.03, 0.8
    w, noise = problem()
    v, point = torch.zeros_like(w), w
    for noise_t in noise:
        look = point + mu * v if make is Nesterov else point
        v = mu * v - lr * gradient(look, noise_t)
        point = point + v
    seen = point + mu * v if make is Nesterov else point
    torch.testing.assert_close(descend(make(lr, mu))[-1], seen, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rule", [cls() for cls in RULES.values()], ids=lambda r: type(r).__name__)
def test_a_step_number_may_be_a_tensor(rule):
    # catches: β ** t in float32, which is off by 1e-5; a Python branch on t
    w, noise = problem()
    a = b = w
    s = r = rule.init(w)
    for t, noise_t in enumerate(noise[:20], start=1):
        a, s = rule.step(a, gradient(a, noise_t), s, t)
        b, r = rule.step(b, gradient(b, noise_t), r, torch.tensor(t))
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_helpers_of_the_rules():
    # catches: the two branches, for numbers and for tensors, drifting apart
    a, b = torch.randn(2, 50, generator=generator(3))
    c = b.abs() + 1
    for x in (0.9, 0.1, -0.3):
        y = torch.tensor(x)
        torch.testing.assert_close(average(a, b, x), x * a + (1 - x) * b, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(average(a, b, y), x * a + (1 - x) * b, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(plus(a, x, b), a + x * b, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(plus(a, y, b), a + x * b, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(plus(a, x, b, over=c), a + x * b / c, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(plus(a, y, b, over=c), a + x * b / c, rtol=1e-12, atol=1e-12)
    assert power(0.9, torch.tensor(3, dtype=torch.int32)).dtype == torch.float64
    assert power(0.9, 3) == 0.9**3


def test_with_values_changes_a_copy():
    rule = Adam(0.1)
    assert with_lr(rule, 0.2) == Adam(0.2)
    assert with_values(rule, beta1=0.5, eps=1e-3) == Adam(0.1, 0.5, eps=1e-3)
    assert rule == Adam(0.1)


def test_rules_by_name():
    assert optimizers.get("adamw") is AdamW
    assert list(RULES) == [name.lower() for name in RULES]
    assert all(cls.__name__.lower() == name for name, cls in RULES.items())
    with pytest.raises(ValueError, match="unknown rule 'adan': did you mean 'adam'"):
        optimizers.get("adan")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        *((lambda cls=cls: cls(lr=0.0), "lr must be > 0") for cls in RULES.values()),
        (lambda: SGD(float("nan")), "lr must be > 0"),
        (lambda: SGD(float("inf")), "finite"),
        (lambda: Momentum(0.1, 1.0), r"momentum must be in \[0, 1\), got 1.0"),
        (lambda: Nesterov(0.1, -0.1), "momentum must be in"),
        (lambda: RMSProp(beta=1.0), "beta must be in"),
        (lambda: RMSProp(eps=-1.0), "eps must be ≥ 0"),
        (lambda: Adagrad(eps=-1.0), "eps must be ≥ 0"),
        (lambda: Adadelta(rho=1.0), "rho must be in"),
        (lambda: Adadelta(eps=0.0), "eps must be > 0"),
        *((lambda cls=cls: cls(beta1=1.0), "beta1 must be in") for cls in (Adam, AdamW, AdaMax, Nadam, AMSGrad, SWATS)),
        *((lambda cls=cls: cls(beta2=-0.1), "beta2") for cls in (Adam, AdamW, AdaMax, Nadam, AMSGrad, SWATS)),
        *((lambda cls=cls: cls(eps=-1.0), "eps") for cls in (Adam, AdamW, AdaMax, Nadam, AMSGrad, SWATS)),
        (lambda: Adam(eps=float("inf")), "eps must be ≥ 0 and finite"),
        (lambda: AdamW(weight_decay=-0.1), "weight_decay must be ≥ 0"),
        (lambda: Nadam(momentum_decay=-1.0), "momentum_decay must be ≥ 0"),
        (lambda: SWATS(threshold=0.0), "threshold must be > 0"),
        (lambda: Adam(lr=torch.tensor([0.1, -0.1])), "lr must be > 0"),
        (lambda: Adam(eps=torch.tensor([0.1, -0.1])), "eps must be ≥ 0"),
    ],
)
def test_bad_hyperparameters(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_the_ends_of_the_ranges_are_allowed():
    # catches: < for ≤, and a tensor of one value per run refused
    Adam(beta1=0.0, beta2=0.0, eps=0.0)
    AdamW(weight_decay=0.0)
    Nadam(momentum_decay=0.0)
    Momentum(torch.tensor([0.1, 0.2]), torch.tensor([0.0, 0.9]))
