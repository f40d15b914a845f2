import copy
import math
import pickle

import pytest
import torch
from torch.func import grad, vmap

from course_lib import initialization
from course_lib.activations import ACTIVATIONS, Activation, elu, get, leaky_relu
from course_lib.stacking import signature

NORMAL = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1)
FORMULAS = {
    "identity": lambda z: z,
    "step": lambda z: torch.heaviside(z, torch.ones_like(z)),
    "sigmoid": lambda z: 1 / (1 + torch.exp(-z)),
    "tanh": lambda z: 2 / (1 + torch.exp(-2 * z)) - 1,
    "relu": lambda z: (z + z.abs()) / 2,
    "leaky_relu": lambda z: torch.maximum(z, 0.01 * z),
    "elu": lambda z: z.relu() + torch.expm1(-(-z).relu()),
    "selu": lambda z: 1.0507009873554805 * (z.relu() + 1.6732632423543772 * torch.expm1(-(-z).relu())),
    "gelu": lambda z: z * NORMAL.cdf(z),
    "silu": lambda z: z / (1 + torch.exp(-z)),
    "leaky_relu(0.2)": lambda z: torch.maximum(z, 0.2 * z),
    "elu(0.5)": lambda z: z.relu() + 0.5 * torch.expm1(-(-z).relu()),
}
ALL = [*ACTIVATIONS.values(), leaky_relu(0.2), elu(0.5)]
FAR = [0.0, -0.0, 1e-300, -1e-300, 1e3, -1e3, 1e300, -1e300]
Z = torch.cat([torch.arange(-600, 601).double() / 10, torch.tensor(FAR, dtype=torch.float64)])

each = pytest.mark.parametrize("activation", ALL, ids=lambda a: a.name)


@each
def test_value_is_the_formulas(activation):
    # catches: an ELU without alpha; SELU's constants swapped; tanh in place of erf in GELU
    torch.testing.assert_close(activation(Z), FORMULAS[activation.name](Z), rtol=1e-12, atol=1e-12)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_derivative_is_that_of_f_under_grad_and_vmap_and_never_nan(activation, dtype):
    # catches: 1 − tanh(z); a slope at 0 that is the other side's; an exponential that overflows: 0 · ∞ = NaN
    z = Z.to(dtype)
    z = z[z.isfinite()]  # 1e300 is infinite in float32
    slope = vmap(grad(activation.f))(z)
    assert slope.isfinite().all()
    close = {torch.float32: 1e-6, torch.float64: 1e-12}[dtype]
    torch.testing.assert_close(activation.derivative(z), slope, rtol=close, atol=close)
    assert activation(z).isfinite().all()
    assert activation(z).dtype == activation.derivative(z).dtype == dtype


@each
def test_values_lie_in_the_range_that_is_stated(activation):
    # catches: a range left from another entry
    low, high = (float(t.replace("−", "-").replace("∞", "inf")) for t in activation.range.strip("{}[]()").split(", "))
    a = activation(Z)
    assert a.min() >= low - 0.005  # −1.76 is rounded
    assert a.max() <= high
    assert math.isinf(low) or a.min() < low + 0.01
    assert math.isinf(high) or a.max() > high - 0.01


@each
def test_saturates_where_it_says(activation):
    # catches: "nowhere" for an ELU ("non-saturating" in lecture C)
    far = torch.tensor([-30.0, 30.0], dtype=torch.float64)
    left, right = (activation.derivative(far).abs() < 1e-10).tolist()
    words = {
        (False, False): ["nowhere"],
        (True, False): ["on the left", "for z ≤ 0, exactly"],
        (True, True): ["on both sides", "everywhere"],
    }
    assert activation.saturates in words[left, right]


def test_selu_keeps_mean_zero_and_mean_square_one():
    # The constants solve these two equations. catches: a digit of them, alpha outside the bracket
    z = torch.linspace(-15, 15, 300_001, dtype=torch.float64)
    weight = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    a = get("selu")(z)
    assert abs((weight * a).sum().item()) < 1e-8
    assert (weight * a**2).sum().item() == pytest.approx(1, abs=1e-8)


@each
def test_the_scheme_is_one_that_exists(activation):
    # catches: a misspelt scheme; one for step, which no start helps
    assert activation.scheme in initialization.SCHEMES or (activation.name, activation.scheme) == ("step", None)


def test_gelu_keeps_its_digits_far_on_the_left():
    # catches: (1 + erf)/2, which is an exact 0 below −8.3.   Φ(−10) = 7.61985302416e-24 (scipy.special.ndtr)
    z = torch.tensor(-10.0, dtype=torch.float64)
    assert get("gelu")(z).item() == pytest.approx(-7.61985302416e-23, rel=1e-10)
    torch.testing.assert_close(get("gelu")(Z), torch.nn.functional.gelu(Z), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", [leaky_relu, elu])
def test_a_parameter_makes_another_activation_that_can_be_told_apart_copied_and_sent(make):
    # catches: a closure, which another process can't get; one name for all slopes, so that runs of different ones
    # would be stacked, or a checkpoint of one taken for the other
    assert make(0.5) == make(0.5) != make(0.25)
    assert signature(make(0.5)) == signature(copy.deepcopy(make(0.5))) != signature(make(0.25))
    assert signature(make(0.5).f) != signature(make(0.25).f)
    assert pickle.loads(pickle.dumps(make(0.5))) == make(0.5)
    assert make(0.5).name == f"{make.__name__}(0.5)"


def test_defaults_are_those_of_the_table():
    assert leaky_relu() == get("leaky_relu") == leaky_relu(0.01)
    assert elu() == get("elu") == elu(1)
    assert list(ACTIVATIONS) == [a.name for a in ACTIVATIONS.values()]
    assert all(isinstance(a, Activation) for a in ACTIVATIONS.values())
    assert elu(0.5).range == "(−0.5, ∞)"


@pytest.mark.parametrize("slope", [0, 1, -0.1, math.nan, math.inf])
def test_a_slope_outside_its_range_is_refused(slope):
    with pytest.raises(ValueError, match=r"slope of leaky ReLU must be in \(0, 1\), got"):
        leaky_relu(slope)


@pytest.mark.parametrize("alpha", [0, -1.0, math.nan, math.inf])
def test_an_alpha_that_is_not_positive_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha must be > 0 and finite, got"):
        elu(alpha)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'sigmoid'"):
        get("sigmod")
    with pytest.raises(ValueError, match="Known: identity, step, sigmoid"):
        get("xyz")
