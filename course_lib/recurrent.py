"""A small recurrent network, unrolled over the time steps: one set of weights, used at every step.

Backpropagation through it is backpropagation through as many layers as there are steps, so its gradients vanish and
explode as those of a deep network do. Chapter: 09_gradient_clipping.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.rng import fork_global

__all__ = ["RNN"]


class RNN(nn.Module):
    """Recurrent network: hₜ = f(W_x xₜ + W_h hₜ₋₁ + b) from h₀ = 0, and outputs V hₜ + c.

    n_in, width, n_out: features of xₜ, units of h, outputs.   activation: f, callable on tensors.
    every_step: outputs at every time step; False: at the last one alone.
    The layers are `input` (W_x, b), `recurrent` (W_h, without bias) and `head` (V, c).
    Shapes: (N, T, n_in) → (N, T, n_out), or (N, n_out) at the last step.
    Raises: TypeError if activation is no function; ValueError for a size below 1, or an input of another shape.
    Source: Elman 1990.   Checked against: torch.nn.RNN, whose two biases add up to b, 1e-12 in float64.
    """

    def __init__(
        self,
        n_in: int,
        width: int,
        n_out: int,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
        *,
        generator: torch.Generator,
        every_step: bool = True,
    ):
        super().__init__()
        if not callable(activation) or isinstance(activation, type):
            raise TypeError(f"activation must be a function of a tensor such as torch.tanh, got {activation!r}")
        if min(n_in, width, n_out) < 1:
            raise ValueError(f"n_in, width and n_out must be ≥ 1, got {n_in}, {width} and {n_out}")
        with fork_global(generator):
            self.input = nn.Linear(n_in, width)
            self.recurrent = nn.Linear(width, width, bias=False)
            self.head = nn.Linear(width, n_out)
        self.activation, self.every_step = activation, every_step

    def states(self, x: Tensor) -> list[Tensor]:
        """Return h₁ … h_T, each (N, width), for x of shape (N, T, n_in)."""
        if x.ndim != 3 or x.shape[1] < 1 or x.shape[2] != self.input.in_features:
            raise ValueError(
                f"a recurrent network takes sequences of shape (N, T, {self.input.in_features}) with T ≥ 1, got "
                f"{tuple(x.shape)}: put the time steps on the second axis"
            )
        first, *rest = self.input(x).unbind(1)  # W_x xₜ + b of every step at once
        states = [self.activation(first)]
        for z in rest:
            states.append(self.activation(z + self.recurrent(states[-1])))
        return states

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (logits, for a classifier)."""
        states = self.states(x)
        return self.head(torch.stack(states, 1) if self.every_step else states[-1])

    def extra_repr(self) -> str:
        """Return what the layers do not say, for `print(model)` and checkpoints."""
        f = getattr(self.activation, "name", None) or getattr(self.activation, "__name__", repr(self.activation))
        return f"activation={f}, every_step={self.every_step}"
