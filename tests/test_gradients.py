import pytest
import torch

from course_lib.gradients import layer_statistics, numerical_gradient, relative_error
from course_lib.losses import cross_entropy
from course_lib.models import MLP, ConvNet
from course_lib.rng import generator


def test_numerical_gradient_of_a_known_function():
    # catches: a forward difference (error 1e-5 here), an element not put back
    w = torch.randn(3, 2, generator=generator(0), dtype=torch.float64)
    before = w.clone()
    gradient = numerical_gradient(lambda w: (w**3).sum() + w.sum() ** 2, w)
    torch.testing.assert_close(gradient, 3 * w**2 + 2 * w.sum(), rtol=0, atol=1e-8)
    assert torch.equal(w, before)
    # catches: a view of a copy that keeps the transposed layout
    torch.testing.assert_close(numerical_gradient(lambda w: (w**3).sum(), w.T), 3 * w.T**2, rtol=0, atol=1e-8)


def test_numerical_gradient_refuses_what_cannot_work():
    w = torch.zeros(2, dtype=torch.float64)
    with pytest.raises(ValueError, match="float64"):
        numerical_gradient(lambda w: w.sum(), w.float())
    with pytest.raises(ValueError, match="h must be > 0"):
        numerical_gradient(lambda w: w.sum(), w, h=0)
    with pytest.raises(ValueError, match="scalar"):
        numerical_gradient(lambda w: w, w)


def test_relative_error():
    a = torch.tensor([3.0, 4.0])
    assert relative_error(a, a) == relative_error(0 * a, 0 * a) == 0
    assert relative_error(a, 2 * a) == pytest.approx(0.5)
    nan = torch.full((2,), float("nan"))
    assert all(e != e for e in (relative_error(nan, a), relative_error(a, nan)))  # catches: NaN taken for 0
    with pytest.raises(ValueError, match="one shape"):
        relative_error(a, a[:1])
    with pytest.raises(ValueError, match="one shape"):
        relative_error(a, torch.zeros(1))


@pytest.mark.parametrize("norm", [None, torch.nn.BatchNorm1d])
def test_layer_statistics_are_those_of_backward(norm):
    # catches: gradients left in .grad, a wrong order of layers, buffers moved by the extra forward pass
    model = MLP((6, 8, 8, 3), torch.tanh, generator=generator(0), norm=norm).double()
    x = torch.randn(20, 6, generator=generator(1), dtype=torch.float64)
    y = torch.randint(3, (20,), generator=generator(2))
    buffers = {n: b.clone() for n, b in model.named_buffers()}
    rows = layer_statistics(model, x, y, cross_entropy)
    assert [r["layer"] for r in rows] == ["layers.0", "layers.1", "layers.2"]
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(b, buffers[n]) for n, b in model.named_buffers())
    cross_entropy(model(x), y).backward()
    for row, layer in zip(rows, model.layers, strict=True):
        assert row["gradient_norm"] == pytest.approx(layer.weight.grad.norm().item(), rel=1e-12)
    z = model.layers[0](x)
    assert rows[0]["output_std"] == pytest.approx(z.std().item(), rel=1e-12)
    assert rows[0]["output_mean"] == pytest.approx(z.mean().item(), rel=1e-12)
    assert rows[1]["weight_norm"] == pytest.approx((model.layers[1].weight ** 2).sum().sqrt().item(), rel=1e-12)


def test_signal_norm_does_not_depend_on_the_batch_size():
    model = MLP((6, 8, 3), torch.tanh, generator=generator(0)).double()
    x = torch.randn(4, 6, generator=generator(1), dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 0])
    once, twice = (layer_statistics(model, x.repeat(n, 1), y.repeat(n), cross_entropy) for n in (1, 2))
    for a, b in zip(once, twice, strict=True):
        assert a["signal_norm"] == pytest.approx(b["signal_norm"], rel=1e-12)


def test_layer_statistics_see_convolutions():
    model = ConvNet((1, 20), (4, 4), 3, generator=generator(0))
    rows = layer_statistics(model, torch.ones(2, 20), torch.tensor([0, 1]), cross_entropy)
    assert [r["layer"] for r in rows] == ["layers.0", "layers.1", "head"]


def test_layer_statistics_leave_no_trace_and_count_frozen_layers():
    # catches: dropout's draws taken from a training run; an error at the first frozen layer; a hook left
    model = MLP((6, 8, 3), generator=generator(0), dropout=0.5)
    x, y = torch.randn(4, 6, generator=generator(1)), torch.tensor([0, 1, 2, 0])
    before = torch.get_rng_state()
    rows = layer_statistics(model, x, y, cross_entropy)
    assert torch.equal(torch.get_rng_state(), before)
    model.layers[0].requires_grad_(False)
    assert layer_statistics(model, x, y, cross_entropy) == rows
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]
    assert not any(m._forward_hooks for m in model.modules())
    with pytest.raises(ValueError, match="no dense or convolutional"):
        layer_statistics(torch.nn.Flatten(), x, y, cross_entropy)
