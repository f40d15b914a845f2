"""The parts of a stack: what may share a stack, and what happens without a compiler."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from course_lib import stacking
from course_lib.models import MLP
from course_lib.optimizers import SGD, Adam, AMSGrad
from course_lib.rng import generator
from course_lib.stacking import bind, hyperparameters, signature
from course_lib.sweeps import sweep


def scaled(factor):
    return lambda z: factor * z


def test_signature_is_the_same_for_what_may_be_stacked():
    # catches: groups of one run, where a fresh function or another number makes two models different
    a, b = (MLP((4, 3, 2), scaled(2.0), generator=generator(seed), dropout=seed / 10) for seed in (1, 2))
    assert signature(a) == signature(b)
    assert signature((SGD(0.1), None)) == signature((SGD(0.2), None))


@dataclasses.dataclass(frozen=True)
class Slope:
    """An activation with a number, as a reader may write it."""

    slope: float

    def __call__(self, z):
        return self.f(z)

    def f(self, z):
        return torch.where(z > 0, z, self.slope * z)


@pytest.mark.parametrize(
    "pair",
    [
        (MLP((4, 3, 2), generator=generator(0)), MLP((4, 5, 2), generator=generator(0))),
        (MLP((4, 3, 2), generator=generator(0)), MLP((4, 3, 2), torch.tanh, generator=generator(0))),
        (MLP((4, 3, 2), scaled(2.0), generator=generator(0)), MLP((4, 3, 2), scaled(3.0), generator=generator(0))),
        (MLP((4, 3, 2), generator=generator(0)), MLP((4, 3, 2), generator=generator(0)).double()),
        (MLP((4, 3, 2), Slope(0.1), generator=generator(0)), MLP((4, 3, 2), Slope(0.2), generator=generator(0))),
        (MLP((4, 3, 2), Slope(0.1).f, generator=generator(0)), MLP((4, 3, 2), Slope(0.2).f, generator=generator(0))),
        (nn.Dropout(0.1), nn.Dropout(0.2)),
        (nn.LeakyReLU(0.1), nn.LeakyReLU(0.2)),
        (SGD(0.1), Adam(0.1)),
        (AMSGrad(0.1), AMSGrad(0.1, bias_correction=False)),
        (torch.zeros(2), torch.ones(2)),
    ],
    ids=lambda pair: type(pair[0]).__name__,
)
def test_signature_differs_where_the_code_does(pair):
    # catches: two activations, rates of torch's dropout or flags trained as if they were one
    assert signature(pair[0]) != signature(pair[1])


def test_signature_sees_frozen_parameters():
    model = MLP((4, 3, 2), generator=generator(0))
    frozen = copy.deepcopy(model)
    frozen.layers[0].weight.requires_grad_(False)
    assert signature(model) != signature(frozen)


def test_hyperparameters_are_the_numbers_and_bind_puts_others_in_their_place():
    values = hyperparameters(AMSGrad(0.1))
    assert values == {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    assert hyperparameters(torch.relu) == {}
    bound = bind((SGD(0.1), None), [{"lr": 7.0}, {}])
    assert dataclasses.asdict(bound[0]) == {"lr": 7.0}
    assert bound[1] is None


def test_a_compiler_that_fails_costs_a_warning_and_no_result(monkeypatch):
    from torch import _inductor

    def broken(*_, **__):
        raise RuntimeError("no C++ compiler")

    x = torch.randn(32, 4, generator=generator(0))
    data = x, (x[:, 0] > 0).long()
    options = {"epochs": 1, "seeds": range(2), "batch_size": 16, "device": "cpu", "progress": False}

    def build(g):
        return MLP((4, 3, 2), generator=g)

    plain = sweep(build, data, SGD(0.123), **options)
    monkeypatch.setattr(_inductor, "compile", broken)
    with pytest.warns(UserWarning, match="runs uncompiled: RuntimeError .*no C"):
        other = sweep(build, data, SGD(0.123), compile=True, **options)
    assert other.runs.equals(plain.runs)


def test_whether_compiling_repays_depends_on_sizes_alone():
    class Fake:
        operations, elements = 200, 5_000_000

    assert not stacking.StackedStep.repays(Fake, 1000)
    assert stacking.StackedStep.repays(Fake, 10_000)
