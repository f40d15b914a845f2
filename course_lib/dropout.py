r"""Dropout whose rate may differ from run to run, and whose masks belong to the run.

Chapter: 16_dropout.   Checked against: torch.nn.Dropout, in distribution.
"""

import torch
from torch import Tensor, nn

from course_lib import noise

__all__ = ["Dropout"]


class Dropout(nn.Module):
    """Inverted dropout: each element is zero with probability `rate`, the others are divided by 1 − rate.

    rate: in [0, 1), kept as a buffer, so that networks which differ in it can train in one stack.
    Inside `fit` and sweeps the mask comes from the run's own stream of noise; elsewhere from torch's global
    generator. In evaluation mode the input passes as it is.
    Raises: ValueError for a rate outside [0, 1).   Source: Srivastava et al. 2014.
    """

    def __init__(self, rate: float = 0.5):
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"dropout is a probability in [0, 1), got {rate}")
        self.register_buffer("rate", torch.tensor(float(rate), dtype=torch.float64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return x, thinned in training mode."""
        if not self.training:
            return x
        u = noise.uniform(x.shape, x.dtype) if noise.active() else torch.rand_like(x)
        return torch.where(u >= self.rate, x / (1 - self.rate), 0)

    def extra_repr(self) -> str:
        """Return the rate, for `print(model)`."""
        return f"rate={self.rate.item():g}"
