"""What `training.fit` is given, tried before the first update, so that what does not fit is said at once.

Chapter: 24_training_recipe.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from course_lib.losses import cross_entropy
from course_lib.names import check_whole
from course_lib.rng import fork_global

__all__ = ["check_data", "check_settings"]


def check_settings(
    model: nn.Module, optimizer, epochs: int, val_data, restore_best, checkpoint_every, patience, follows_val
) -> None:
    """Refuse settings that do not fit together.   Raises: ValueError or TypeError."""
    check_whole("epochs", epochs)
    for name, value in (("patience", patience), ("a schedule that follows the validation loss", follows_val)):
        if value and val_data is None:
            raise ValueError(f"{name} needs val_data: give fit a validation set")
    if patience is not None:
        check_whole("patience", patience)
    if checkpoint_every is not None:
        check_whole("checkpoint_every", checkpoint_every)
    if restore_best and val_data is None:
        raise ValueError("restore_best needs val_data: the best weights are those of the lowest val_loss")
    trained = {p for p in model.parameters() if p.requires_grad}
    if not trained:
        raise ValueError(f"{type(model).__name__} has no parameter with requires_grad=True: there is nothing to train")
    if isinstance(optimizer, torch.optim.Optimizer):
        if trained.isdisjoint(p for group in optimizer.param_groups for p in group["params"]):
            raise ValueError("the optimiser has no parameter of this model: make it from model.parameters()")
    elif isinstance(optimizer, type) or not (hasattr(optimizer, "init") and hasattr(optimizer, "step")):
        raise TypeError(f"optimizer must be a rule such as Adam(lr=1e-3) or a torch.optim.Optimizer, got {optimizer!r}")


def check_data(model: nn.Module, x: Tensor, y: Tensor, rows: int, measures: Mapping[str, Callable], name: str) -> None:
    """Try the model, in the mode it is in, and every loss and metric on `rows` samples: the first ones.

    Of whole numbers, the samples of the largest and the smallest come before these: where an embedding has no row
    for one of them, a compiled step on several threads would end the process.
    Neither the model nor torch's global generator is changed.   name: of the data, for the message.
    Raises: ValueError for NaN or infinity, a batch that the model can't take, a label that the model has no
    output for, or a measure that is not a scalar.
    """
    for part, t in (("x", x), ("y", y)):
        if t.is_floating_point() and not torch.isfinite(t).all():
            raise ValueError(f"{name}: {part} must be finite, got NaN or infinity: drop or fill these samples")
    tried = torch.arange(min(rows, len(x)), device=x.device)
    if x.dtype in (torch.int32, torch.int64) and x.numel():
        flat = x.reshape(len(x), -1)
        ends = torch.stack([flat.amax(1).argmax(), flat.amin(1).argmin()])
        tried = torch.cat([ends, tried])[: len(tried)]
    xb, yb = x[tried], y[tried]
    with torch.no_grad(), fork_global(torch.Generator()):
        try:
            out = functional_call(model, {n: b.clone() for n, b in model.named_buffers()}, (xb,))
        except (RuntimeError, ValueError, IndexError) as error:
            dtype, first = next(model.parameters()).dtype, "its first layer must fit the samples"
            alone = "batch normalisation needs 2 samples or more in every batch, the last one too: change batch_size"
            one_value = "more than 1 value per channel" in str(error)  # as torch's layers and ours say it
            remedy = f"use x.to({dtype})" if xb.dtype != dtype else alone if one_value else first
            if "index out of range" in str(error):  # as torch's embedding says it
                remedy = f"an embedding needs a row for every number from 0 to {int(x.max())}, and x none below 0"
            raise ValueError(
                f"{name}: the model, with weights of {dtype}, can't take a batch of shape {tuple(xb.shape)} and "
                f"{xb.dtype} ({error}): {remedy}"
            ) from error
        if measures["loss"] is cross_entropy and out.ndim in (2, 3):
            low, high = int(y.min()), int(y.max())
            if low < 0 or high >= out.shape[-1]:
                raise ValueError(
                    f"{name}: labels must lie in 0 … {out.shape[-1] - 1}, as the model has {out.shape[-1]} outputs, "
                    f"got {low} … {high}: renumber the labels or give the last layer more units"
                )
        for measure, function in measures.items():
            shape = tuple(torch.as_tensor(function(out, yb)).shape)
            if shape != ():
                raise ValueError(f"{name}: {measure} must return one number, got shape {shape}: take its mean")
