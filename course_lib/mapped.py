"""Layers in the form that maps well over many runs: convolutions as one matrix product, dropout from a run's stream.

`stacking` is what uses it.   Checked against: torch.nn.Conv1d and Conv2d, forward and backward, 1e-12 in float64.
"""

import copy
import functools
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from course_lib import noise
from course_lib.flat import Layout

__all__ = ["MappedLayout", "mapped_model"]


class _StreamDropout(nn.Dropout):
    """`torch.nn.Dropout` that draws from the run's own stream of noise."""

    def forward(self, x):
        if not self.training or not self.p:
            return x
        return torch.where(noise.uniform(x.shape, x.dtype) >= self.p, x / (1 - self.p), 0)


class _Columns(torch.autograd.Function):
    """x (N, *space, C) → (N, *space out, kernel · C): the patch of the input below each output, by shifted slices.

    The gradient gathers, for each place, the patches that hold it: autograd's sum of padded slices has to ask for
    each element of each slice whether it is there.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x, kernel, stride, dilation):
        slices = [x]
        for axis, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True), 1):
            n = (x.shape[axis] - d * (k - 1) - 1) // s + 1
            take = [(slice(None),) * axis + (slice(i * d, i * d + (n - 1) * s + 1, s),) for i in range(k)]
            slices = [part[places] for part in slices for places in take]
        return (torch if isinstance(x, Tensor) else np).concatenate(slices, -1)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, *sizes = inputs
        ctx.shape, ctx.sizes = x.shape, tuple(map(tuple, sizes))

    @staticmethod
    def backward(ctx, grad):
        n, *space, channels = ctx.shape
        places, there = (torch.from_numpy(a).to(grad.device) for a in _patches_of(tuple(space), *ctx.sizes))
        grad = grad.reshape(n, -1, channels)
        parts = [torch.where(has[:, None], grad[:, at], 0) for at, has in zip(places, there, strict=True)]
        return sum(parts).view(ctx.shape), None, None, None


@functools.cache
def _patches_of(space, *sizes):
    """Return, for each place of the input, where in the columns it stands: places and whether they are there (J, P)."""
    numbers = np.arange(math.prod(space)).reshape(1, *space, 1)
    held = _Columns.forward(numbers, *sizes).ravel()  # the place at each position of the columns
    order, count = np.argsort(held, kind="stable"), np.bincount(held, minlength=numbers.size)
    step = np.arange(count.max())[:, None]
    there = step < count
    return order[np.where(there, np.cumsum(count) - count + step, 0)], there


class _Product(torch.autograd.Function):
    """columns (N, *space, K), matrix (K, C) → (N, C, *space), channels last in memory; so is its gradient.

    Left to itself a compiled backward pass copies the gradient to channels first and back, once for each of its uses;
    `as_strided` makes it lie still.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(columns, matrix):
        out = columns.reshape(-1, columns.shape[-1]) @ matrix
        return out.view(*columns.shape[:-1], -1).movedim(-1, 1)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        columns, matrix = ctx.saved_tensors
        grad = grad.movedim(1, -1).clone(memory_format=torch.contiguous_format)
        grad = grad.as_strided(grad.shape, grad.stride()).view(-1, matrix.shape[1])
        return (grad @ matrix.T).view(columns.shape), columns.reshape(-1, len(matrix)).T @ grad


class _Sliced:
    """A convolution as one matrix product over shifted slices of its input, channels last.

    Mapped over runs, torch's own convolution becomes a grouped one, which is several times slower on a CPU.
    """

    def _conv_forward(self, x, weight, bias):
        batched = x.ndim == weight.ndim
        x = x if batched else x[None]
        padding = [p for pair in zip(self.padding, self.padding, strict=True) for p in pair]
        x = nn.functional.pad(x, padding[::-1]).movedim(1, -1)  # N, *space, C
        columns = _Columns.apply(x, weight.shape[2:], self.stride, self.dilation)
        out = _Product.apply(columns, weight.permute(_as_matrix(weight)).flatten(0, -2))
        out = out if bias is None else out + bias.view(-1, *[1] * (weight.ndim - 2))
        return out if batched else out[0]


def _as_matrix(weight) -> tuple[int, ...]:
    """Return the order of the weight's dimensions in which it is the product's matrix: kernel, channels in and out."""
    return (*range(2, weight.ndim), 1, 0)


class _SlicedConv1d(_Sliced, nn.Conv1d):
    pass


class _SlicedConv2d(_Sliced, nn.Conv2d):
    pass


def mapped_model(model: nn.Module) -> nn.Module:
    """Return a copy whose convolutions and dropout layers are those that map well. Other modules stay."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = _StreamDropout
        elif type(module) in (nn.Conv1d, nn.Conv2d):
            plain = module.groups == 1 and module.padding_mode == "zeros" and not isinstance(module.padding, str)
            if plain:
                module.__class__ = _SlicedConv1d if type(module) is nn.Conv1d else _SlicedConv2d
    return model


class MappedLayout(Layout):
    """A `Layout` for a mapped model: a convolution's weights lie in the order in which its product reads them.

    Clipping, penalties and constraints see each tensor in its own shape; a rule sees the vector.
    model: mapped or not.   tensors: as of `Layout`.
    """

    def __init__(self, model: nn.Module, tensors: Mapping[str, Tensor]):
        convolutions = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Conv1d | nn.Conv2d)}
        self._orders = {name: _as_matrix(t) for name, t in tensors.items() if name in convolutions}
        self._plain = Layout(tensors)
        super().__init__(self._ordered(tensors))

    def pack(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the tensors of these names as one new vector (P,)."""
        return super().pack(self._ordered(tensors))

    def unpack(self, vector: Tensor) -> dict[str, Tensor]:
        """Return name → view of the vector, in the tensor's own shape."""
        views = super().unpack(vector)
        return views | {n: views[n].permute(tuple(np.argsort(order))) for n, order in self._orders.items()}

    def plain(self, vectors: Tensor) -> Tensor:
        """Return the vectors (R, P) in the order of a `Layout` of the same tensors."""
        places = self.pack(self._plain.unpack(torch.arange(vectors.shape[-1], device=vectors.device)))
        return vectors[:, places.argsort()]

    def _ordered(self, tensors):
        return {n: t.permute(self._orders[n]) if n in self._orders else t for n, t in tensors.items()}
