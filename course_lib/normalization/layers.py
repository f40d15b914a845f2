r"""Normalisation layers: x̂ by one statistic or another, then y = γ x̂ + β with a γ and a β per channel.

All take (N, C) or (N, C, *space), start at γ = 1 and β = 0, and can be mapped over runs.
Chapter: 08_normalization.
"""

import torch
from torch import Tensor, nn

from course_lib.names import check_not_negative, check_whole
from course_lib.normalization.by_hand import along_channels, batch_axes, check_batch, check_input, standardize

__all__ = ["BatchNorm", "BatchRenorm", "GroupNorm", "InstanceNorm", "LayerNorm"]


class _Norm(nn.Module):
    """γ and β per channel, and the checks that all have in common."""

    def __init__(self, n: int, eps: float):
        super().__init__()
        check_whole("n", n)
        check_not_negative("eps", eps)
        self.n, self.eps = n, eps
        self.gamma, self.beta = nn.Parameter(torch.ones(n)), nn.Parameter(torch.zeros(n))

    def forward(self, x: Tensor) -> Tensor:
        """Return γ x̂ + β, in the shape of x."""
        check_input(x, self.n, type(self).__name__)
        return along_channels(self.gamma, x) * self.normalized(x) + along_channels(self.beta, x)

    def extra_repr(self) -> str:
        """Return the settings, for `print(model)` and checkpoints."""
        return f"{self.n}, eps={self.eps:g}"


class LayerNorm(_Norm):
    r"""Layer normalisation: every sample by itself, over its channels and places together.

    x̂ = standardize(x, axes 1, 2, …)

    A transformer's, torch.nn.LayerNorm(C) on (N, places, C), takes one mean per place, over the channels alone.
    On (N, C) the two are the same. torch.nn.LayerNorm((C, *space)) has this one's means, but a γ and a β for
    every place; torch.nn.GroupNorm(1, C) is this one.

    n: channels C ≥ 1.   eps: ≥ 0, in units of x².
    Raises: ValueError for other input than (N, n, *space), or one value per sample.
    Source: Ba, Kiros & Hinton 2016.   Checked against: torch.nn.LayerNorm, torch.nn.GroupNorm.
    """

    def __init__(self, n: int, eps: float = 1e-5):
        super().__init__(n, eps)

    def normalized(self, x: Tensor) -> Tensor:
        """Return x̂."""
        return standardize(x, range(1, x.ndim), self.eps)


class InstanceNorm(_Norm):
    r"""Instance normalisation: every channel of every sample by itself, over its places.

    x̂ = standardize(x, axes 2, 3, …)

    n: channels C ≥ 1.   eps: ≥ 0, in units of x².
    Raises: ValueError for other input than (N, n, *space), or one place alone, as in (N, n).
    Source: Ulyanov, Vedaldi & Lempitsky 2016.   Checked against: torch.nn.InstanceNorm1d, 2d with affine=True.
    """

    def __init__(self, n: int, eps: float = 1e-5):
        super().__init__(n, eps)

    def normalized(self, x: Tensor) -> Tensor:
        """Return x̂."""
        return standardize(x, range(2, x.ndim), self.eps)


class GroupNorm(_Norm):
    r"""Group normalisation: the channels in groups of n / groups neighbours, every group of every sample by itself.

    x̂ = standardize(x as (N, groups, n / groups, *space), axes 2, 3, …)

    groups = 1 is layer normalisation, groups = n instance normalisation.
    n: channels C ≥ 1.   groups: ≥ 1, a divisor of n.   eps: ≥ 0, in units of x².
    Raises: ValueError if groups does not divide n, for other input than (N, n, *space), or one value per group.
    Source: Wu & He 2018.   Checked against: torch.nn.GroupNorm.
    """

    def __init__(self, n: int, groups: int, eps: float = 1e-5):
        super().__init__(n, eps)
        check_whole("groups", groups)
        if n % groups:
            possible = ", ".join(str(g) for g in range(1, n + 1) if n % g == 0)
            raise ValueError(f"groups must divide the {n} channels, got {groups}: use one of {possible}")
        self.groups = groups

    def normalized(self, x: Tensor) -> Tensor:
        """Return x̂."""
        grouped = x.reshape(len(x), self.groups, self.n // self.groups, *x.shape[2:])
        return standardize(grouped, range(2, grouped.ndim), self.eps).reshape(x.shape)

    def extra_repr(self) -> str:
        """Return the settings, for `print(model)` and checkpoints."""
        return f"{super().extra_repr()}, groups={self.groups}"


class _Running(_Norm):
    """A layer that uses the batch in training, and moving averages in evaluation."""

    def __init__(self, n: int, momentum: float, eps: float):
        super().__init__(n, eps)
        if not 0 < momentum <= 1:
            raise ValueError(
                f"momentum must be in (0, 1], got {momentum}: it is the weight of the new value, as in PyTorch; "
                "where a source weighs the old value, use 1 minus that"
            )
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(n))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def normalized(self, x: Tensor) -> Tensor:
        """Return x̂; in training move the averages."""
        if not self.training:
            return (x - along_channels(self.running_mean, x)) / along_channels(self.running_std(), x)
        m, axes = check_batch(x), batch_axes(x)
        mean = x.mean(axes, keepdim=True)
        centred = x - mean
        var = (centred**2).mean(axes, keepdim=True)
        x_hat = self.of_batch(centred, mean, var)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.move(self.running_mean, mean)
            self.track(var, m)
        return x_hat

    def move(self, average: Tensor, new: Tensor) -> None:
        """Move a running average towards the batch's value, in place."""
        average.add_(self.momentum * (new.flatten() - average))

    def extra_repr(self) -> str:
        """Return the settings, for `print(model)` and checkpoints."""
        return f"{super().extra_repr()}, momentum={self.momentum:g}"


class BatchNorm(_Running):
    r"""Batch normalisation: every channel by itself, over the batch and its places.

    training:     x̂ = (x − μ) / √(σ² + eps), with μ and σ² of the batch, and
                  μ_run += momentum (μ − μ_run),   σ²_run += momentum (σ² m/(m−1) − σ²_run)
    evaluation:   x̂ = (x − μ_run) / √(σ²_run + eps)

    m values per channel: N · space. The batch is divided by its biased variance, the average takes the unbiased.
    n: channels C ≥ 1.   momentum: the weight of the new value, in (0, 1] (PyTorch's and lecture C's; lecture B
    weighs the old one).   eps: ≥ 0, in units of x².
    Raises: ValueError outside these, for other input than (N, n, *space), or m = 1 in training.
    Source: Ioffe & Szegedy 2015, Alg. 1 and 2.   Checked against: torch.nn.BatchNorm1d, 2d.
    """

    def __init__(self, n: int, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__(n, momentum, eps)
        self.register_buffer("running_var", torch.ones(n))

    def running_std(self) -> Tensor:
        """Return what evaluation divides by, (C,)."""
        return (self.running_var + self.eps).sqrt()

    def of_batch(self, centred: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Return x̂ by the batch's own statistics."""
        return centred / (var + self.eps).sqrt()

    def track(self, var: Tensor, m: int) -> None:
        """Move the average of the spread."""
        self.move(self.running_var, var * m / (m - 1))


class BatchRenorm(_Running):
    r"""Batch renormalisation: as in evaluation already in training, as far as r and d allow.

    training:     σ = √(σ²_batch + eps),   x̂ = (x − μ)/σ · r + d
                  r = min(max(σ/σ_run, 1/r_max), r_max),   d = min(max((μ − μ_run)/σ_run, −d_max), d_max)
                  μ_run += momentum (μ − μ_run),   σ_run += momentum (σ − σ_run)
    evaluation:   x̂ = (x − μ_run) / σ_run

    No gradient goes through r and d. Where neither is cut, x̂ = (x − μ_run)/σ_run. r_max = 1 and d_max = 0 give batch
    normalisation, but for the average, which is of σ here. Ioffe starts there and raises the limits step by step
    to 3 and 5, once the averages are good: set r_max and d_max between calls of `fit`, or in a callback. A sweep
    keeps them as they are at its start.

    n: channels C ≥ 1.   momentum: the weight of the new value, in (0, 1].   eps: ≥ 0, in units of x².
    r_max: ≥ 1.   d_max: ≥ 0.
    Raises: ValueError outside these, for other input than (N, n, *space), or one value per channel in training.
    Source: Ioffe 2017, Alg. 1.   Checked against: the algorithm in NumPy.
    """

    def __init__(self, n: int, momentum: float = 0.01, eps: float = 1e-5, r_max: float = 3.0, d_max: float = 5.0):
        super().__init__(n, momentum, eps)
        if not r_max >= 1:
            raise ValueError(f"r_max must be ≥ 1, as r is cut to [1/r_max, r_max], got {r_max}")
        if not d_max >= 0:
            raise ValueError(f"d_max must be ≥ 0, as d is cut to [−d_max, d_max], got {d_max}")
        self.r_max, self.d_max = r_max, d_max
        self.register_buffer("running_sigma", torch.ones(n))

    def running_std(self) -> Tensor:
        """Return what evaluation divides by, (C,)."""
        return self.running_sigma

    def of_batch(self, centred: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Return x̂ by the batch's own statistics, corrected towards the running ones."""
        sigma = (var + self.eps).sqrt()
        with torch.no_grad():
            running_mean, running_sigma = (along_channels(t, centred) for t in (self.running_mean, self.running_sigma))
            r = (sigma / running_sigma).clamp(1 / self.r_max, self.r_max)
            d = ((mean - running_mean) / running_sigma).clamp(-self.d_max, self.d_max)
        return centred / sigma * r + d

    def track(self, var: Tensor, m: int) -> None:
        """Move the average of the spread."""
        self.move(self.running_sigma, (var + self.eps).sqrt())

    def extra_repr(self) -> str:
        """Return the settings, for `print(model)` and checkpoints."""
        return f"{super().extra_repr()}, r_max={self.r_max:g}, d_max={self.d_max:g}"
