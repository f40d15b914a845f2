"""Training: one pure step, and the loop around it.

`make_step` gives the step as a pure function of (params, buffers, state, t, x, y), for running many
networks at once; `fit` is the loop for one `nn.Module`, with one of our rules or any torch optimiser.
Both apply a rule through `apply_rule`, and a test holds them to the same weights.
Chapter: 01_data_preparation (batches, epochs), 03_backpropagation (the step), 24_training_recipe.
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from course_lib import checkpoints, resume
from course_lib.data import as_tensors, batches_per_epoch
from course_lib.device import best_device
from course_lib.inputs import check_data, check_settings
from course_lib.losses import accuracy, cross_entropy
from course_lib.optimizers import Rule, with_lr
from course_lib.progress import bar as progress_bar
from course_lib.rng import fork_global
from course_lib.schedules import Constant

__all__ = ["DivergedError", "Event", "History", "apply_rule", "evaluate", "fit", "make_step"]


def apply_rule(rule: Rule, schedule, params: Mapping, grads: Mapping, state: Mapping, t: int):
    """Return (params, state) after update t: the rule on every parameter, at the scheduled rate.

    params, grads, state: dicts with the same keys.   t: this update's number, from 1; the schedule is
    asked for the factor after t − 1 finished ones. Pure: nothing is changed in place.
    """
    rule = with_lr(rule, rule.lr * schedule(t - 1))
    moved = {name: rule.step(w, grads[name], state[name], t) for name, w in params.items()}
    return {n: w for n, (w, _) in moved.items()}, {n: s for n, (_, s) in moved.items()}


def make_step(model: nn.Module, rule: Rule, loss: Callable = cross_entropy, schedule=Constant()):  # noqa: B008
    """Return step(params, buffers, state, t, x, y) → (params, buffers, state, loss), a pure function.

    params, buffers: dicts by name, as of `model.named_parameters()` and `named_buffers()`. A parameter that
    is left out of params stays at the model's own value: so are weights frozen.
    state: {name: rule.init(w)}.   t: this update's number, from 1.   x, y: one batch.
    Nothing is changed in place, so the step can be mapped over a leading axis of runs with
    `torch.func.vmap`.
    """

    def batch_loss(params, buffers, x, y):
        buffers = {name: b.clone() for name, b in buffers.items()}  # batch norm writes into its buffers
        return loss(functional_call(model, (params, buffers), (x,)), y), buffers

    def step(params, buffers, state, t, x, y):
        grads, (value, buffers) = grad_and_value(batch_loss, has_aux=True)(params, buffers, x, y)
        params, state = apply_rule(rule, schedule, params, grads, state, t)
        return params, buffers, state, value

    return step


class DivergedError(RuntimeError):
    """The loss became NaN or infinite. step: the update at which it did; history: the run until then."""

    def __init__(self, step: int, loss: float, history: "History"):
        super().__init__(
            f"the loss is {loss} at step {step}: training has diverged. Lower the learning rate, clip the "
            "gradients, or check the data for extreme values. With restore_best the model has its best weights."
        )
        self.step, self.history = step, history


@dataclass
class History:
    """What `fit` measured.

    records: one dict per finished epoch: epoch (from 1), step (updates so far), lr, train_loss (mean of
    the batches' losses, each before its update), and val_loss, val_<metric> where there is validation data.
    step_loss: the loss of every batch, before its update. While a GPU trains it may be up to 49 behind.
    best: the record with the lowest val_loss, or None without validation data.
    """

    records: list[dict] = field(default_factory=list)
    step_loss: list[float] = field(default_factory=list)
    best: dict | None = None

    @property
    def frame(self):
        """The records as a pandas DataFrame, a row per epoch."""
        import pandas as pd

        return pd.DataFrame(self.records)


@dataclass(frozen=True)
class Event:
    """What a callback sees after each update.

    record: the epoch's record at its last update, else None. A callback that returns True ends the run.
    """

    model: nn.Module
    step: int
    epoch: int
    record: dict | None
    history: History


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data,
    loss: Callable = cross_entropy,
    metrics: Mapping[str, Callable] | None = None,
    batch_size: int = 1024,
) -> dict[str, float]:
    """Return {"loss": …, "accuracy": …} of the model over the data, in evaluation mode.

    data: a Dataset or (x, y).   loss, metrics: (outputs, y) → scalar mean; batches are weighted by size.
    Every module's mode is put back afterwards.   Raises: ValueError for a batch_size below 1.
    """
    x, y = as_tensors(data)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    measures = {"loss": loss, **({"accuracy": accuracy} if metrics is None else metrics)}
    device = next(model.parameters(), x).device
    training = [module for module in model.modules() if module.training]
    sums = dict.fromkeys(measures, 0.0)
    try:
        model.eval()
        for xb, yb in zip(x.split(batch_size), y.split(batch_size), strict=True):
            out, yb = model(xb.to(device)), yb.to(device)
            for name, measure in measures.items():
                sums[name] += float(measure(out, yb)) * len(xb)
    finally:
        for module in training:
            module.training = True
    return {name: total / len(x) for name, total in sums.items()}


def fit(
    model: nn.Module,
    data,
    optimizer,
    *,
    epochs: int,
    generator: torch.Generator,
    batch_size: int = 32,
    val_data=None,
    loss: Callable = cross_entropy,
    metrics: Mapping[str, Callable] | None = None,
    schedule=None,
    callbacks: Iterable[Callable[[Event], bool | None]] = (),
    restore_best: bool = False,
    device: torch.device | str | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    progress: bool | None = None,
) -> History:
    """Train a model in place with mini-batches; return the history. The model ends in evaluation mode.

    data, val_data: a Dataset or a pair (x, y).   optimizer: one of our rules, or a torch optimiser that
    was made from model.parameters().   epochs: passes over the data in all, those before a resume counted.
    generator: draws the order of the batches and whatever the model draws (dropout).
    loss, metrics: (outputs, y) → scalar mean. They are tried on a few samples first, as the model is.
    schedule: factor on the learning rate by finished steps.
    callbacks: called after every update with an Event; True ends the run, for a resume too.
    restore_best: end with the weights of the lowest val_loss instead of the last ones.
    device: where to train; the data are put there once. Default: CUDA if there is one, else the CPU.
    checkpoint: a file. If it exists the run goes on from it, bit for bit as if it had not stopped (same
    machine, torch, device and threads; on a GPU, if its kernels are deterministic). It is written at the
    start and every checkpoint_every updates (default: each epoch). What a callback holds is not in it:
    prefer `schedule` to an LRScheduler that a callback steps.
    progress: show a bar. Default: on a terminal, outside CI, after three seconds.
    Raises: DivergedError at a NaN or infinite loss, before that update (on a GPU, where the loss is read
    every 50 updates, up to 49 later); ValueError or TypeError for data, model and settings that do not fit
    together, before the first update; CheckpointError for a file that is damaged or from another
    configuration.
    """
    x, y = as_tensors(data)
    val_data = None if val_data is None else as_tensors(val_data)
    metrics = {"accuracy": accuracy} if metrics is None else dict(metrics)
    callbacks = tuple(callbacks)
    per_epoch = batches_per_epoch(len(x), batch_size)
    check_settings(model, optimizer, epochs, val_data, restore_best, checkpoint_every)
    device = best_device() if device is None else torch.device(device)
    model.to(device)
    x, y = x.to(device), y.to(device)
    if val_data is not None:
        val_data = tuple(t.to(device) for t in val_data)
        check_data(model.eval(), *val_data, 2, {"loss": loss, **metrics}, "val_data")
    check_data(model.train(), x, y, len(x) % batch_size or batch_size, {"loss": loss}, "data")
    with fork_global(generator):
        run = _Run(model, optimizer, schedule, loss, generator, device)
        try:
            if checkpoint is not None:
                settings = resume.settings(run, batch_size, data=(x, y), val_data=val_data)
                if Path(checkpoint).exists():
                    resume.restore(run, checkpoints.load(checkpoint, settings))
                else:  # a folder that can't be written shows now, not after the first epoch
                    checkpoints.save(checkpoint, resume.content(run), settings)
            with progress_bar(epochs * per_epoch, initial=run.step, show=progress) as bar:
                while not (run.stopped or run.epoch >= epochs):
                    if run.position == 0:
                        run.order = torch.randperm(len(x), generator=generator, device=generator.device).to(device)
                    batch = run.order[run.position : run.position + batch_size]
                    run.update(x[batch], y[batch])
                    record = run.close_epoch(per_epoch, val_data, metrics) if run.position >= len(x) else None
                    bar.update()
                    if callbacks:
                        event = Event(model, run.step, run.epoch + (record is None), record, run.history)
                        run.stopped = True in [callback(event) for callback in callbacks]
                    due = run.step % (checkpoint_every or per_epoch) == 0 or run.epoch >= epochs
                    if checkpoint is not None and (due or run.stopped):
                        checkpoints.save(checkpoint, resume.content(run), settings)
            run.read_losses()
        finally:
            run.finish(restore_best)
    return run.history


class _Run:
    """Everything that changes while a model trains: what `resume` saves and puts back."""

    def __init__(self, model, optimizer, schedule, loss, generator, device):
        self.model, self.optimizer, self.schedule, self.loss = model, optimizer, schedule, loss
        self.generator, self.device, self.read_every = generator, device, 1 if device.type == "cpu" else 50
        self.params = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.is_rule = not isinstance(optimizer, torch.optim.Optimizer)
        self.state = {n: optimizer.init(p.detach()) for n, p in self.params.items()} if self.is_rule else None
        self.rates = None if self.is_rule else [group["lr"] for group in optimizer.param_groups]
        self.step = self.epoch = self.position = 0
        self.order, self.stopped = torch.empty(0, dtype=torch.int64), False
        self.unread: list[Tensor] = []
        self.history, self.best_weights = History(), None

    def update(self, x, y):
        """Take one step on a batch; stop before it if the loss is not a number."""
        self.step += 1
        value = self.loss(self.model(x), y)
        self.unread.append(value.detach())
        if len(self.unread) >= self.read_every:
            self.read_losses()
        if self.is_rule:
            grads = torch.autograd.grad(value, list(self.params.values()), allow_unused=True)
            grads = {n: g for n, g in zip(self.params, grads, strict=True) if g is not None}
            with torch.no_grad():
                used = {n: self.params[n] for n in grads}
                schedule = self.schedule or Constant()
                moved, state = apply_rule(self.optimizer, schedule, used, grads, self.state, self.step)
                self.state.update(state)
                for name, w in moved.items():
                    self.params[name].copy_(w)
        else:
            if self.schedule is not None:
                self.set_rates(self.schedule(self.step - 1))
            self.optimizer.zero_grad()
            value.backward()
            self.optimizer.step()
        self.position += len(x)

    def read_losses(self):
        """Move the losses of the last updates into the history (reading them waits for a GPU)."""
        values = torch.stack(self.unread).tolist() if len(self.unread) > 1 else [v.item() for v in self.unread]
        self.unread.clear()
        for i, value in enumerate(values):
            if not math.isfinite(value):
                raise DivergedError(self.step - len(values) + 1 + i, value, self.history)
            self.history.step_loss.append(value)

    def close_epoch(self, per_epoch, val_data, metrics):
        """Measure, keep the weights if they are the best so far, and return the epoch's record."""
        self.read_losses()
        self.position, self.epoch = 0, self.epoch + 1
        record = {"epoch": self.epoch, "step": self.step, "lr": self.rate()}
        record["train_loss"] = math.fsum(self.history.step_loss[-per_epoch:]) / per_epoch
        if val_data is not None:
            measured = evaluate(self.model, val_data, self.loss, metrics)
            if not math.isfinite(measured["loss"]):
                raise DivergedError(self.step, measured["loss"], self.history)
            record.update({f"val_{name}": value for name, value in measured.items()})
            if self.history.best is None or record["val_loss"] < self.history.best["val_loss"]:
                self.history.best = record
                self.best_weights = copy.deepcopy(self.model.state_dict())
        self.history.records.append(record)
        return record

    def rate(self):
        """Return the learning rate of the last update."""
        if self.is_rule:
            return float(self.optimizer.lr * (self.schedule or Constant())(self.step - 1))
        return float(self.optimizer.param_groups[0]["lr"])

    def set_rates(self, factor):
        """Set the rate of every parameter group of a torch optimiser to its first one times the factor."""
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def finish(self, restore_best):
        """Leave model and optimiser as the caller expects them, whether or not the run reached its end."""
        if restore_best and self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)
        if self.rates and self.schedule is not None:
            self.set_rates(1)
        self.model.eval()
