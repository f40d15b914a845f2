r"""Random numbers as a pure function of a key and a counter, for what is drawn inside a training step.

A generator has a state, so many networks that train at once would share it, and none would get what it gets
alone. Here number i of draw d at step t of the run with key k is

    u = mix(mix(mix(k + mix(t)) + γ d) + γ i) / 2⁶⁴,    cut to 24 bits,

where mix is the output function of SplitMix64 and γ its increment. The same (k, t, d, i) gives the same number
on every device, in every dtype, in a stack of runs and alone.
Source: Steele, Lea & Flood 2014; Salmon et al. 2011 for counter-based generators.
Used by: dropout, augmentation.
"""

import math
from contextvars import ContextVar
from functools import cached_property

import torch
from torch import Tensor

__all__ = ["active", "stream", "uniform"]

_GAMMA = 0x9E3779B97F4A7C15 - 2**64  # as signed 64-bit integers, which wrap
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64
_STREAM: ContextVar = ContextVar("stream", default=None)


class stream:
    """Make `uniform` draw for step t of the run with this key, within the block.

    key: () int64, one for each run.   t: the update's number, ≥ 0.
    """

    def __init__(self, key: Tensor, t: int | Tensor):
        self.key, self.t, self.draws = key, t, 0

    @cached_property
    def base(self) -> Tensor:
        """What the step's draws start from. Mixed at the first draw: most steps have none."""
        return _mix(self.key + _mix(torch.as_tensor(self.t, device=self.key.device).to(torch.int64)))

    def __enter__(self):
        self._token = _STREAM.set(self)

    def __exit__(self, *exc):
        _STREAM.reset(self._token)


def active() -> bool:
    """Return whether a stream is open: inside a step of `fit` or of a sweep."""
    return _STREAM.get() is not None


def uniform(shape, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return numbers on [0, 1), multiples of 2⁻²⁴, from the open stream; each call is a new draw.

    Returns: a tensor of this shape, on the key's device.   Raises: RuntimeError outside `stream`.
    """
    current = _STREAM.get()
    if current is None:
        raise RuntimeError("noise.uniform draws for a step of a run: call it inside noise.stream(key, t)")
    offset = current.draws * 0x632BE59BD9B4E019
    base = _mix(current.base + ((offset + 2**63) % 2**64 - 2**63))  # wrapped to 64 bits with a sign
    current.draws += 1
    counter = torch.arange(math.prod(shape), device=base.device) * _GAMMA
    return (_right(_mix(base + counter), 40).to(dtype) * 2.0**-24).view(shape)


def _mix(z):
    z = (z ^ _right(z, 30)) * _MIX_1
    z = (z ^ _right(z, 27)) * _MIX_2
    return z ^ _right(z, 31)


def _right(z, bits):
    return (z >> bits) & ((1 << (64 - bits)) - 1)  # a logical shift: torch's keeps the sign
