import pytest
import torch

from course_lib.activations import ACTIVATIONS, get

TORCH = {"identity": lambda z: z, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_agrees_with_autograd(name):
    # catches: 1 − tanh(z) in place of 1 − tanh²(z); a wrong derivative at a kink
    z = torch.arange(-60, 61, dtype=torch.float64).div(10).requires_grad_()  # 0 exactly, too
    a = get(name)(z)
    (gradient,) = torch.autograd.grad(a.sum(), z)
    torch.testing.assert_close(get(name).derivative(z.detach()), gradient, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(a, TORCH[name](z), rtol=1e-12, atol=1e-12)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'sigmoid'"):
        get("sigmod")
    with pytest.raises(ValueError, match="Known: identity, sigmoid"):
        get("xyz")
