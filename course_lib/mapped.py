"""Layers in the form that maps well over many runs: convolutions as one matrix product, dropout from a run's stream.

`stacking` is what uses it.   Checked against: torch.nn.Conv1d and Conv2d, forward and backward, 1e-12 in float64.
"""

import copy
import functools
import math

import numpy as np
import torch
from torch import Tensor, nn

from course_lib import noise

__all__ = ["mapped_model"]


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
    """columns (N, *space, K), matrix (C, K) → (N, C, *space), channels last in memory; so is its gradient.

    Left to itself the backward pass copies the gradient to channels first and back, once for each of its uses.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(columns, matrix):
        out = columns.reshape(-1, columns.shape[-1]) @ matrix.T
        return out.view(*columns.shape[:-1], -1).movedim(-1, 1)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        columns, matrix = ctx.saved_tensors
        grad = grad.movedim(1, -1).reshape(-1, len(matrix))
        return (grad @ matrix).view(columns.shape), grad.T @ columns.reshape(-1, columns.shape[-1])


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
        out = _Product.apply(columns, weight.movedim(1, -1).reshape(len(weight), -1))
        out = out if bias is None else out + bias.view(-1, *[1] * (weight.ndim - 2))
        return out if batched else out[0]


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
