"""What flows through a network: sizes of activations and gradients per layer, and numerical gradients.

Chapter: 03_backpropagation (gradient checking), 05_gradient_flow (statistics per layer).
"""

from collections.abc import Callable
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["layer_statistics", "numerical_gradient", "relative_error"]


def numerical_gradient(f: Callable[[Tensor], Tensor], w: Tensor, h: float = 1e-5) -> Tensor:
    """Gradient of a scalar function by central differences, one element of w at a time.

    ∂f/∂wᵢ ≈ (f(w + h eᵢ) − f(w − h eᵢ)) / 2h,   error O(h²) from the formula, O(ε/h) from rounding

    f: tensor shaped as w to a scalar.   w: any shape; not changed.   h: step > 0, in units of w.
    Returns: shaped as w. Costs two calls of f per element.
    Raises: ValueError for h ≤ 0, a float32 w (rounding swamps the difference: pass w.double()),
    or an f that does not return a scalar.
    """
    if not h > 0:
        raise ValueError(f"the step h must be > 0, got {h}")
    if w.dtype != torch.float64:
        raise ValueError(f"differences need float64, got {w.dtype}: pass w.double() and float64 data")
    gradient = torch.zeros_like(w)
    moved = w.detach().clone()
    with torch.no_grad():
        for i in range(w.numel()):
            values = []
            for sign in (1, -1):
                moved.view(-1)[i] = w.reshape(-1)[i] + sign * h
                values.append(f(moved))
            moved.view(-1)[i] = w.reshape(-1)[i]
            if values[0].numel() != 1:
                raise ValueError(f"f must return a scalar, got shape {tuple(values[0].shape)}: take its mean")
            gradient.view(-1)[i] = (values[0] - values[1]).reshape(()) / (2 * h)
    return gradient


def relative_error(a: Tensor, b: Tensor) -> float:
    """Return ‖a − b‖ / max(‖a‖, ‖b‖), or 0 where both are zero. a, b: the same shape."""
    if a.shape != b.shape:
        raise ValueError(f"a and b must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    largest = max(a.norm().item(), b.norm().item())
    return (a - b).norm().item() / largest if largest > 0 else 0.0


def layer_statistics(model: nn.Module, x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor]):
    """Return a list of dicts, one per dense or convolutional layer in the order in which they run.

    x, y: one batch.   loss: (outputs, y) → scalar.
    Each dict: layer (its name), output_mean, output_std (over batch and units, before the activation),
    weight_norm, gradient_norm (Frobenius norms of the weight and of ∂L/∂W),
    signal_norm (mean over samples of ‖∂L/∂z‖ × batch size: how much of the loss reaches this layer).
    Gradients are put back as they were, and so are buffers: nothing in the model changes.
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)}
    outputs: dict[str, Tensor] = {}
    handles = [m.register_forward_hook(_keep(outputs, name)) for name, m in layers.items()]
    try:
        with _buffers_kept(model):
            value = loss(model(x), y)
            ran = [n for n in layers if n in outputs]
            ran.sort(key=list(outputs).index)
            wanted = [layers[n].weight for n in ran] + [outputs[n] for n in ran]
            got = torch.autograd.grad(value, wanted)
    finally:
        for handle in handles:
            handle.remove()
    rows = []
    for i, name in enumerate(ran):
        z, weight_gradient, signal = outputs[name].detach(), got[i], got[len(ran) + i]
        rows.append(
            {
                "layer": name,
                "output_mean": z.mean().item(),
                "output_std": z.std().item(),
                "weight_norm": layers[name].weight.norm().item(),
                "gradient_norm": weight_gradient.norm().item(),
                "signal_norm": signal.flatten(1).norm(dim=1).mean().item() * len(x),
            }
        )
    return rows


def _keep(outputs, name):
    def hook(module, inputs, output):
        outputs[name] = output

    return hook


@contextmanager
def _buffers_kept(model):
    before = {name: b.clone() for name, b in model.named_buffers()}
    try:
        yield
    finally:
        for name, b in model.named_buffers():
            b.copy_(before[name])
