"""What flows through a network: sizes of activations and gradients per layer, and numerical gradients.

Chapter: 03_backpropagation (gradient checking), 05_gradient_flow (statistics per layer).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from course_lib.rng import fork_global

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
    gradient = torch.zeros_like(w, memory_format=torch.contiguous_format)
    moved = w.detach().clone(memory_format=torch.contiguous_format)
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
    """Return ‖a − b‖ / max(‖a‖, ‖b‖), or 0 where both are zero; NaN if either has a NaN.

    a, b: the same shape.   Raises: ValueError for two shapes.
    """
    if a.shape != b.shape:
        raise ValueError(f"a and b must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    largest = max(a.norm().item(), b.norm().item())
    return (a - b).norm().item() / largest if largest != 0 else 0.0


def layer_statistics(model: nn.Module, x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor]):
    """Return a list of dicts, one per dense or convolutional layer in the order in which they run.

    x, y: one batch.   loss: (outputs, y) → scalar.
    Each dict: layer (its name), output_mean, output_std (over batch and units, before the activation),
    weight_norm, gradient_norm (Frobenius norms of the weight and of ∂L/∂W),
    signal_norm (mean over samples of ‖∂L/∂z‖ × batch size: how much of the loss reaches this layer).
    The model runs in the mode it is in, on copies: its weights, gradients and buffers do not change, and
    neither does torch's global generator (dropout draws the same mask at every call). Frozen layers count.
    Raises: ValueError if the model has no such layer.
    """
    params = {n: p.detach().clone().requires_grad_(p.is_floating_point()) for n, p in model.named_parameters()}
    buffers = {n: b.clone() for n, b in model.named_buffers()}
    ran: dict[str, tuple[Tensor, Tensor]] = {}
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)}
    handles = [m.register_forward_hook(_keep(ran, name)) for name, m in layers.items()]
    try:
        with fork_global(torch.Generator()):
            value = loss(functional_call(model, (params, buffers), (x,)), y)
    finally:
        for handle in handles:
            handle.remove()
    if not ran:
        raise ValueError(f"{type(model).__name__} has no dense or convolutional layer to look at")
    weights, outputs = zip(*ran.values(), strict=True)
    got = torch.autograd.grad(value, weights + outputs)
    return [
        {
            "layer": name,
            "output_mean": z.mean().item(),
            "output_std": z.std().item(),
            "weight_norm": w.norm().item(),
            "gradient_norm": dw.norm().item(),
            "signal_norm": dz.flatten(1).norm(dim=1).mean().item() * len(x),
        }
        for name, w, z, dw, dz in zip(ran, weights, outputs, got[: len(ran)], got[len(ran) :], strict=True)
    ]


def _keep(ran, name):
    def hook(layer, inputs, output):
        ran[name] = layer.weight, output

    return hook
