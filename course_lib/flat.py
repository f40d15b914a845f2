"""All weights of a network as one vector, and back.

Update rules work on this vector: one call for the whole network, and a rule that needs all of it (a norm, a
dot product) has it. Chapter: 11_optimizers.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["Layout"]


class Layout:
    """Where each named tensor lies in the vector.

    tensors: name → tensor, all of one dtype and on one device.
    Raises: ValueError if there are none, or if they differ in dtype or device.
    """

    def __init__(self, tensors: Mapping[str, Tensor]):
        kinds = {(t.dtype, t.device) for t in tensors.values()}
        if len(kinds) != 1:
            raise ValueError(
                "the trained parameters must be of one dtype and on one device, got "
                f"{', '.join(sorted(f'{dtype} on {device}' for dtype, device in kinds)) or 'none'}: convert the "
                "model, or train it with TorchOptimizer(model.parameters(), rule), which takes each alone"
            )
        self.shapes = {name: tuple(t.shape) for name, t in tensors.items()}
        self.sizes = [math.prod(shape) for shape in self.shapes.values()]

    def pack(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the tensors of these names, in the layout's order, as one new vector (P,)."""
        return torch.cat([tensors[name].reshape(-1) for name in self.shapes])

    def unpack(self, vector: Tensor) -> dict[str, Tensor]:
        """Return name → view of the vector, in its shape."""
        parts = vector.split(self.sizes)
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}
