import math

import pytest
import torch
from scipy import stats
from torch import nn

from course_lib import initialization
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
