import math

import pytest
import torch
from scipy import stats
from torch import nn

from course_lib import activations, initialization
from course_lib.initialization import Constant, Normal, VarianceScaling, fans, get, initialize_
from course_lib.rng import generator

TORCH = {
    "xavier_normal": nn.init.xavier_normal_,
    "xavier_uniform": nn.init.xavier_uniform_,
    "he_normal": lambda w, generator: nn.init.kaiming_normal_(w, nonlinearity="relu", generator=generator),
    "he_uniform": lambda w, generator: nn.init.kaiming_uniform_(w, nonlinearity="relu", generator=generator),
    "lecun_normal": lambda w, generator: nn.init.kaiming_normal_(w, nonlinearity="linear", generator=generator),
    "lecun_uniform": lambda w, generator: nn.init.kaiming_uniform_(w, nonlinearity="linear", generator=generator),
}


@pytest.mark.parametrize("shape", [(300, 200), (40, 30, 5), (20, 30, 5, 3)], ids=str)
@pytest.mark.parametrize("name", TORCH)
def test_distribution_agrees_with_torch(name, shape):
    # catches: √gain in place of gain, fan_out for fan_in, channels without the kernel's area, r = std.
    # Two-sample Kolmogorov-Smirnov on fixed seeds; a false alarm at 1e-7 would show at once and for ever.
    ours = get(name).sample(shape, generator(0, name), dtype=torch.float64).flatten()
    theirs = TORCH[name](torch.empty(shape, dtype=torch.float64), generator=generator(1, name)).flatten()
    assert stats.ks_2samp(ours.numpy(), theirs.numpy()).pvalue > 1e-7
    assert ours.var().item() == pytest.approx(get(name).variance(shape), rel=0.05)


def test_uniform_stays_inside_its_bound():
    w = get("he_uniform").sample((100, 50), generator(0))
    assert w.abs().max() <= math.sqrt(3 * 2 / 50)


def test_fans_of_a_convolution_count_the_kernel():
    assert fans((8, 3, 5, 5)) == (75, 200)  # lecture A counts channels alone
    assert fans((8, 3)) == (3, 8)
    with pytest.raises(ValueError, match="fan_in"):
        fans((8,))


def test_initialize_touches_weights_and_biases_of_dense_and_convolutional_layers_only():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2, bias=False))
    initialize_(model, Constant(0.5), generator(0), bias=0.25)
    assert (model[0].weight == 0.5).all()
    assert (model[0].bias == 0.25).all()
    assert (model[1].weight == 1).all()
    assert (model[3].weight == 0.5).all()
    with pytest.raises(ValueError, match="no dense or convolutional"):
        initialize_(nn.ReLU(), "zeros", generator(0))
    with pytest.raises(TypeError, match=r"torch.Generator, got 0"):
        initialize_(model, "zeros", 0)


def test_normal_has_its_standard_deviation():
    # 40,000 draws: the sample's deviation is off by 3 % with probability below 1e-16. catches: variance for std
    assert Normal(0.3).sample((200, 200), generator(0)).std().item() == pytest.approx(0.3, rel=0.03)


def test_same_generator_same_weights():
    a, b = (initialize_(nn.Linear(9, 7), Normal(0.1), generator(4)) for _ in range(2))
    assert torch.equal(a.weight, b.weight)


def test_bad_values():
    with pytest.raises(ValueError, match="did you mean 'he_normal'"):
        get("he_norm")
    for make in (lambda: VarianceScaling(0), lambda: VarianceScaling(1, "both"), lambda: Normal(-1)):
        with pytest.raises(ValueError):
            make()
    with pytest.raises(ValueError, match="distribution"):
        VarianceScaling(1, "in", "cauchy")
    assert set(TORCH) < set(initialization.SCHEMES)


@pytest.mark.parametrize("name", [n for n, a in activations.ACTIVATIONS.items() if a.scheme])
def test_without_a_scheme_the_start_is_the_activations_own(name):
    # catches: one default for all, an activation whose scheme is no name of a scheme
    activation = activations.get(name)
    own = initialize_(nn.Linear(9, 7), generator=generator(4), activation=activation)
    named = initialize_(nn.Linear(9, 7), activation.scheme, generator(4))
    assert torch.equal(own.weight, named.weight)


@pytest.mark.parametrize(
    ("activation", "scheme", "right"),
    [
        ("selu", "he_normal", "lecun_normal"),
        ("selu", "xavier_uniform", "lecun_normal"),  # the same gain, but another fan
        ("relu", "lecun_normal", "he_normal"),
        ("leaky_relu", "zeros", "he_normal"),
        ("tanh", Normal(0.01), "xavier_normal"),
    ],
)
def test_a_scheme_of_another_activation_warns_names_the_right_one_and_is_used(activation, scheme, right):
    # catches: no warning, the wrong name in it, the activation's scheme in place of the one asked for
    with pytest.warns(UserWarning, match=f"{activation} starts well from {right}, .* scheme='{right}'") as caught:
        model = initialize_(nn.Linear(9, 7), scheme, generator(4), activation=activations.get(activation))
    assert torch.equal(model.weight, initialize_(nn.Linear(9, 7), scheme, generator(4)).weight)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("scheme", ["he_normal", "he_uniform", VarianceScaling(2.0)])
def test_the_right_scheme_does_not_warn_in_either_distribution(scheme):
    initialize_(nn.Linear(9, 7), scheme, generator(4), activation=activations.get("relu"))  # warnings are errors


def test_a_start_needs_a_scheme_or_an_activation_that_has_one():
    model, step = nn.Linear(3, 2), activations.get("step")
    kept = model.weight.clone()
    with pytest.raises(ValueError, match=r"no activation is given: pass a name, one of xavier_normal"):
        initialize_(model, generator=generator(0))
    with pytest.raises(ValueError, match="no scheme suits step"):
        initialize_(model, generator=generator(0), activation=step)
    with pytest.raises(TypeError, match=r"one of course_lib.activations, got <built-in"):
        initialize_(model, generator=generator(0), activation=torch.relu)
    with pytest.raises(TypeError, match=r"torch.Generator, got None"):
        initialize_(model, "he_normal")
    assert torch.equal(model.weight, kept)
    initialize_(model, "he_normal", generator(0), activation=step)
