"""Training: one pure step, and the loop around it.

`make_step` gives the step as a pure function, for running many networks at once; `fit` is the loop for one
`nn.Module`, with one of our rules or any torch optimiser. Both change the weights through one `Update`, and a
test holds them to the same weights.
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

from course_lib import checkpoints, noise, resume
from course_lib.data import as_tensors, batches_per_epoch
from course_lib.device import best_device
from course_lib.flat import Layout
from course_lib.inputs import check_data, check_settings
from course_lib.losses import accuracy, cross_entropy
from course_lib.optimizers import Rule, with_lr
from course_lib.progress import bar as progress_bar
from course_lib.rng import fork_global
from course_lib.schedules import Constant

__all__ = ["DivergedError", "Event", "History", "Update", "evaluate", "fit", "make_step"]


@dataclass(frozen=True)
class Update:
    """What happens to the weights once the gradient is there: penalty, clipping, rule, constraint, in this order.

    rule: an update rule.   clip: a function of the gradients by name, or None.
    penalty: has gradient(weights) by name, which is added to the loss's gradients before clipping; or None.
    constraint: a function of (weights before, weights after, learning rate) by name, or None.
    The last three may also be tuples of such things, which are applied in turn.
    """

    rule: Rule
    penalty: object = None
    clip: object = None
    constraint: object = None

    def __call__(self, layout: Layout, w: Tensor, g: Tensor, state, t, factor):
        """Return (w, state) after update t. Pure: nothing is changed in place.

        w, g: weights and the loss's gradient as vectors (P,) in this layout.   t: from 1.
        factor: what the schedule makes of the rule's learning rate in this update.
        """
        rule = with_lr(self.rule, self.rule.lr * factor)
        before = layout.unpack(w)
        for penalty in _each(self.penalty):
            g = g + layout.pack(penalty.gradient(before))
        for clip in _each(self.clip):
            g = layout.pack(clip(layout.unpack(g)))
        w, state = rule.step(w, g, state, t)
        for constraint in _each(self.constraint):
            w = layout.pack(constraint(before, layout.unpack(w), rule.lr))
        return w, state


def _each(thing) -> tuple:
    return () if thing is None else thing if isinstance(thing, tuple) else (thing,)


def make_step(model: nn.Module, layout: Layout, augment: Callable | None = None):
    """Return step(update, loss, w, buffers, state, key, t, factor, x, y) → (w, buffers, state, value), a pure function.

    layout: of the parameters that are trained; the others stay at the model's own value.
    update: an `Update`.   loss: (outputs, y) → scalar.   w: (P,) weights in the layout.   buffers: by name.
    state: update.rule.init(w).   key: () int64, the run's, from which dropout and augmentation draw.
    t: this update's number, from 1.   factor: on the learning rate.   x, y: one batch.
    augment: (x, y) → (x, y) on a batch, drawing from `noise.uniform`.
    Nothing is changed in place, so the step can be mapped over a leading axis of runs with `torch.func.vmap`.
    """

    def step(update, loss, w, buffers, state, key, t, factor, x, y):
        def batch_loss(w):
            new = {name: b.clone() for name, b in buffers.items()}  # batch norm writes into its buffers
            with noise.stream(key, t):
                batch = (x, y) if augment is None else augment(x, y)
                out = functional_call(model, (layout.unpack(w), new), (batch[0],))
            return loss(out, batch[1]), new

        g, (value, new) = grad_and_value(batch_loss, has_aux=True)(w)
        w, state = update(layout, w, g, state, t, factor)
        return w, new, state, value

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
    penalty=None,
    clip=None,
    constraint=None,
    augment: Callable | None = None,
    patience: int | None = None,
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
    generator: draws the order of the batches, and the seed of whatever the model draws (dropout).
    loss, metrics: (outputs, y) → scalar mean. They are tried on a few samples first, as the model is.
    schedule: factor on the learning rate by finished steps, or by the validation loss.
    penalty, clip, constraint: as in `Update`.   augment: (x, y) → (x, y) on each batch, drawn from `noise`.
    patience: end after this many epochs in a row without a val_loss below the lowest so far.
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
    follows_val = hasattr(schedule, "update")
    check_settings(model, optimizer, epochs, val_data, restore_best, checkpoint_every, patience, follows_val)
    device = best_device() if device is None else torch.device(device)
    model.to(device)
    x, y = x.to(device), y.to(device)
    if val_data is not None:
        val_data = tuple(t.to(device) for t in val_data)
        check_data(model.eval(), *val_data, 2, {"loss": loss, **metrics}, "val_data")
    check_data(model.train(), x, y, len(x) % batch_size or batch_size, {"loss": loss}, "data")
    with fork_global(generator) as fork:
        update = Update(optimizer, penalty, clip, constraint)
        run = _Run(model, update, schedule, loss, augment, patience, generator, device, fork.seed)
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
                    for batch in run.order[run.position :].split(batch_size):
                        run.update(x[batch], y[batch])
                        record = run.close_epoch(per_epoch, val_data, metrics) if run.step % per_epoch == 0 else None
                        bar.update()
                        if callbacks:
                            event = Event(model, run.step, run.epoch + (record is None), record, run.history)
                            run.stopped |= True in [callback(event) for callback in callbacks]
                        if checkpoint is not None and (
                            run.stopped or run.epoch >= epochs or run.step % (checkpoint_every or per_epoch) == 0
                        ):
                            checkpoints.save(checkpoint, resume.content(run), settings)
                        if run.stopped:
                            break
            run.read_losses()
        finally:
            run.finish(restore_best)
    return run.history


class _Run:
    """Everything that changes while a model trains: what `resume` saves and puts back."""

    def __init__(self, model, update, schedule, loss, augment, patience, generator, device, seed):
        self.model, self.optimizer, self.change, self.loss, self.augment = model, update.rule, update, loss, augment
        self.schedule, self.patience = schedule or Constant(), patience
        self.generator, self.device, self.read_every = generator, device, 1 if device.type == "cpu" else 50
        self.params = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.is_rule = not isinstance(self.optimizer, torch.optim.Optimizer)
        self.layout = Layout(self.params) if self.is_rule or update != Update(update.rule) else None
        self.state = self.optimizer.init(self.weights()) if self.is_rule else None
        self.rates = None if self.is_rule else [group["lr"] for group in self.optimizer.param_groups]
        self.pace = self.schedule.init() if hasattr(self.schedule, "update") else None
        self.constant = self.schedule == Constant()
        self.key = torch.tensor(seed, device=device)
        self.step = self.epoch = self.position = 0
        self.order, self.stopped = torch.empty(0, dtype=torch.int64), False
        self.unread: list[Tensor] = []
        self.history, self.best_weights = History(), None

    def weights(self):
        """Return the trained weights as one vector."""
        return self.layout.pack({name: p.detach() for name, p in self.params.items()})

    def update(self, x, y):
        """Take one step on a batch; stop before it if the loss is not a number."""
        self.step += 1
        with noise.stream(self.key, self.step):
            if self.augment is not None:
                x, y = self.augment(x, y)
            value = self.loss(self.model(x), y)
        if self.read_every == 1:
            self.note_loss(value.item(), self.step)
        else:
            self.unread.append(value.detach())
            if len(self.unread) >= self.read_every:
                self.read_losses()
        if self.is_rule:
            grads = torch.autograd.grad(value, list(self.params.values()), allow_unused=True)
            with torch.no_grad():
                self.rule_step(dict(zip(self.params, grads, strict=True)))
        else:
            if not self.constant:  # else an LRScheduler of the reader's may set them
                self.set_rates(self.factor())
            self.zero_grad()
            value.backward()
            if self.layout is None:
                self.optimizer.step()
            else:
                self.torch_step()
        self.position += x.shape[0]

    def rule_step(self, grads):
        """Let our rule take its step. As in torch, a parameter that the loss did not use stays, as does its state."""
        unused = {name: g is None for name, g in grads.items()}
        grads = {name: torch.zeros_like(self.params[name]) if g is None else g for name, g in grads.items()}
        old, state = self.weights(), self.state
        w, self.state = self.change(self.layout, old, self.layout.pack(grads), state, self.step, self.factor())
        if any(unused.values()):
            used = self.layout.pack({n: torch.full_like(p, not unused[n]) for n, p in self.params.items()}) > 0
            w = torch.where(used, w, old)
            pairs = zip(self.state, state, strict=True)
            self.state = type(state)(*(torch.where(used, a, b) if a.shape == w.shape else a for a, b in pairs))
        torch._foreach_copy_(list(self.params.values()), list(self.layout.unpack(w).values()))

    def zero_grad(self):
        """Forget a torch optimiser's gradients. torch's own way takes 7 µs more to do the same."""
        if getattr(self.optimizer.zero_grad, "__func__", None) is not torch.optim.Optimizer.zero_grad:
            self.optimizer.zero_grad()
            return
        for group in self.optimizer.param_groups:
            for p in group["params"]:
                p.grad = None

    def torch_step(self):
        """Let a torch optimiser take its step, between our penalty, clipping and constraint."""
        taken = Update(_TorchStep(self.optimizer, self.params), *(getattr(self.change, n) for n in _AROUND))
        grads = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in self.params.items()}
        with torch.no_grad():
            w, _ = taken(self.layout, self.weights(), self.layout.pack(grads), self.layout, self.step, 1.0)
            torch._foreach_copy_(list(self.params.values()), list(self.layout.unpack(w).values()))

    def factor(self):
        """Return what multiplies the learning rate in the update of this step."""
        return self.schedule(self.step - 1) if self.pace is None else float(self.pace.factor)

    def read_losses(self):
        """Move the losses of the last updates into the history (reading them waits for a GPU)."""
        values = torch.stack(self.unread).tolist() if self.unread else []
        self.unread.clear()
        for i, value in enumerate(values):
            self.note_loss(value, self.step - len(values) + 1 + i)

    def note_loss(self, value, step):
        """Write the loss before the update of that step into the history; stop if it is not a number."""
        if not math.isfinite(value):
            raise DivergedError(step, value, self.history)
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
            self.stopped = self.patience is not None and self.epoch - self.history.best["epoch"] >= self.patience
            if self.pace is not None:
                self.pace = self.schedule.update(self.pace, record["val_loss"])
        self.history.records.append(record)
        return record

    def rate(self):
        """Return the learning rate of the last update."""
        if self.is_rule:
            return float(self.optimizer.lr * self.factor())
        return float(self.optimizer.param_groups[0]["lr"])

    def set_rates(self, factor):
        """Set the rate of every parameter group of a torch optimiser to its first one times the factor."""
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def finish(self, restore_best):
        """Leave model and optimiser as the caller expects them, whether or not the run reached its end."""
        if restore_best and self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)
        if self.rates and not self.constant:
            self.set_rates(1)
        self.model.eval()


_AROUND = ("penalty", "clip", "constraint")


class _TorchStep:
    """A torch optimiser in the place of a rule, for `Update`: its step is taken on the model's own parameters."""

    def __init__(self, optimizer, params):
        self.optimizer, self.params, self.lr = optimizer, params, optimizer.param_groups[0]["lr"]

    def step(self, w, g, layout, t):
        """Return the weights after the optimiser's step along g."""
        for p, part in zip(self.params.values(), layout.unpack(g).values(), strict=True):
            p.grad = part
        self.optimizer.step()
        return layout.pack(self.params), layout
