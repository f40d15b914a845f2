"""What the checkpoint of a training run holds: all that changes while it runs, and what it belongs to.

The run is that of `training.fit`; `checkpoints` writes and reads the file. Chapter: 24_training_recipe.
"""

import warnings

import torch

from course_lib.checkpoints import digest_of, plain_name

__all__ = ["content", "restore", "settings"]

_PLAIN = ("step", "epoch", "position", "order", "stopped", "best_weights", "key")


def settings(run, batch_size: int, **data) -> dict:
    """Return what a run must share with this one to go on from its checkpoint, as plain values by name.

    data: name → pair of tensors, or None.   The number of epochs is not in it: a run may go on for more.
    """
    groups = [] if run.is_rule else run.optimizer.param_groups
    # the rate before any LRScheduler, and the number of parameters in place of the parameters
    groups = [{**g, "lr": g.get("initial_lr", g["lr"]), "params": len(g["params"])} for g in groups]
    return {
        **{f"module {n}": f"{type(m).__name__}({m.extra_repr()})" for n, m in run.model.named_modules()},
        **{n: f"{tuple(p.shape)} {p.dtype} trained: {p.requires_grad}" for n, p in run.model.named_parameters()},
        "optimizer": plain_name(run.optimizer) if run.is_rule else f"{type(run.optimizer).__name__} {groups}",
        **{name: plain_name(getattr(run.change, name)) for name in ("penalty", "clip", "constraint")},
        **{name: plain_name(getattr(run, name)) for name in ("schedule", "loss", "augment", "patience")},
        "batch_size": batch_size,
        "generator": run.generator.device.type,
        **{name: None if pair is None else digest_of(pair) for name, pair in data.items()},
    }


def content(run) -> dict:
    """Return everything that `restore` needs, as plain values."""
    run.read_losses()
    state = run.state._asdict() if run.is_rule else run.optimizer.state_dict()
    return {name: getattr(run, name) for name in _PLAIN} | {
        "weights": run.model.state_dict(),
        "optimizer": state,
        "pace": None if run.pace is None else run.pace._asdict(),
        "history": vars(run.history),
        "generator": run.generator.get_state(),
        "device": run.device.type,
        "cpu_generator": torch.get_rng_state(),
        "cuda_generator": torch.cuda.get_rng_state(run.device) if run.device.type == "cuda" else None,
    }


def restore(run, saved: dict) -> None:
    """Put back what `content` gave.   Warns: UserWarning where the run was on another kind of device."""
    for name in _PLAIN:
        setattr(run, name, saved[name])
    run.order, run.key = run.order.to(run.device), run.key.to(run.device)
    run.pace = None if run.pace is None else type(run.pace)(**saved["pace"])
    run.model.load_state_dict(saved["weights"])
    if run.is_rule:
        run.state = type(run.state)(**{name: v.to(run.device) for name, v in saved["optimizer"].items()})
    else:
        run.optimizer.load_state_dict(saved["optimizer"])
    vars(run.history).update(saved["history"])
    run.generator.set_state(saved["generator"])
    torch.set_rng_state(saved["cpu_generator"])
    if saved["device"] != run.device.type:
        warnings.warn(
            f"the checkpoint was written on {saved['device']} and the run goes on on {run.device.type}: "
            "its weights will not be those of an uninterrupted run",
            stacklevel=3,
        )
    elif saved["cuda_generator"] is not None:
        torch.cuda.set_rng_state(saved["cuda_generator"], run.device)
