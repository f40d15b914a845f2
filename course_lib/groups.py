"""One group of a sweep: runs that share all but numbers, trained as one stack, or one after another.

`train(group)` needs nothing but its argument, so it can be sent to another process or machine. A run in a stack
ends with the weights and the history that `training.fit` gives it alone.   Used by: sweeps.
"""

import copy
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.utils import _pytree as pytree

from course_lib.data import batches_per_epoch
from course_lib.device import threads
from course_lib.flat import Layout
from course_lib.graphs import NotStackable
from course_lib.inputs import check_data
from course_lib.mapped import MappedLayout
from course_lib.optimizers import Rule
from course_lib.progress import bar as progress_bar
from course_lib.rng import fork_global, generator
from course_lib.schedules import Constant
from course_lib.stacking import StackedEvaluation, StackedStep, bind, hyperparameters, signature
from course_lib.training import DivergedError, fit

__all__ = ["Group", "Run", "train"]


@dataclass(frozen=True)
class Run:
    """One network to be trained: what `training.fit` takes, and the labels that name the run in the results."""

    labels: dict
    seed: int
    model: nn.Module
    data: tuple[Tensor, Tensor]
    val_data: tuple[Tensor, Tensor] | None
    rule: Rule
    loss: Callable
    schedule: Callable | None = None
    penalty: object = None
    clip: object = None
    constraint: object = None
    augment: Callable | None = None
    epochs: int = 1
    batch_size: int = 32
    patience: int | None = None

    @property
    def things(self) -> tuple:
        """What may differ between the runs of a stack in its numbers: update and loss, in `StackedStep`'s order."""
        return self.rule, self.penalty, self.clip, self.constraint, self.loss


@dataclass(frozen=True)
class Group:
    """Runs that can be stacked, and how to train them.   threads: of torch, for each operation."""

    runs: tuple[Run, ...]
    metrics: dict[str, Callable]
    device: torch.device
    restore_best: bool
    compile: bool | str
    stack: bool
    threads: int
    progress: bool | None = False


def train(group: Group) -> dict:
    """Train the group's runs; return plain tensors and lists.

    Keys: records (a list of dicts for each run, one an epoch, as `fit` gives them), step_loss (a tensor for each
    run), diverged_at (step or None, each), weights (R, P), buffers (name → (R, …)), unstacked (why, or None).
    """
    with threads(group.threads):
        if not group.stack:
            return _one_by_one(group, None)
        try:
            with _TRACING:
                return _Stack(group).train()
        except NotStackable as reason:
            return _one_by_one(group, str(reason))


def _one_by_one(group: Group, reason: str | None) -> dict:
    out = {"records": [], "step_loss": [], "diverged_at": [], "unstacked": reason}
    models = []
    with progress_bar(len(group.runs), unit="run", show=group.progress) as bar:
        for run in group.runs:
            model, at = copy.deepcopy(run.model), None
            settings = {n: getattr(run, n) for n in _FIT if getattr(run, n) is not None}
            try:
                history = fit(
                    model, run.data, run.rule, generator=generator(run.seed, "training"), val_data=run.val_data,
                    metrics=group.metrics, restore_best=group.restore_best, device=group.device, progress=False,
                    **settings,
                )  # fmt: skip
            except DivergedError as error:
                history, at = error.history, error.step
            out["records"].append(history.records)
            out["step_loss"].append(torch.tensor(history.step_loss, dtype=torch.float64))
            out["diverged_at"].append(at)
            models.append(model.cpu())
            bar.update()
    layout = Layout(_trained(models[0]))
    out["weights"] = torch.stack([layout.pack(_trained(m)) for m in models])
    out["buffers"] = {n: torch.stack([_fixed(m)[n] for m in models]) for n in _fixed(models[0])}
    return out


_FIT = ("loss", "schedule", "penalty", "clip", "constraint", "augment", "epochs", "batch_size", "patience")


_TRACING = threading.Lock()  # while torch traces, modules of other threads would be traced too
_MADE: dict = {}  # steps and evaluations that were made in this process: sweeps of the same shapes share them


def _made(make, example, shared: bool, compile, *steps):
    """Return the step or the evaluation for these things and shapes: one that is there, or a new one."""
    kind, model, layout, *things = make
    shapes = [(leaf.shape, leaf.stride(), leaf.dtype, leaf.device) for leaf in pytree.tree_leaves(example)]
    key = (kind, signature(model), signature(things), *shapes, shared, compile, torch.get_num_threads())
    kept = _MADE.pop(key, None)
    if kept is None or (compile == "auto" and not kept.compiled and kept.repays(*steps)):
        kept = kind(model, layout, *things, example, shared, compile, *steps)
    _MADE[key] = kept  # the last used one at the end
    if len(_MADE) > 64:
        del _MADE[next(iter(_MADE))]
    return kept


class _Stack:
    """The state of a group while it trains: everything with a leading axis of R runs."""

    def __init__(self, group: Group):
        self.group, runs = group, group.runs
        first, device = runs[0], group.device
        self.batch_size, self.epochs = first.batch_size, first.epochs
        to = {"device": device}
        self.shared = all(run.data[0] is first.data[0] and run.data[1] is first.data[1] for run in runs)
        self.shared_val = all(run.val_data is first.val_data for run in runs)
        self.data = first.data if self.shared else tuple(map(torch.stack, zip(*(r.data for r in runs), strict=True)))
        self.data = tuple(t.to(**to) for t in self.data)
        self.val = first.val_data
        if self.val is not None and not self.shared_val:
            self.val = tuple(map(torch.stack, zip(*(r.val_data for r in runs), strict=True)))
        self.val = None if self.val is None else tuple(t.to(**to) for t in self.val)
        self.n = len(first.data[0])
        model = copy.deepcopy(first.model).to(device)
        self._check(model, first)
        self.template = model
        self.layout = MappedLayout(model, _trained(model))
        self.w = torch.stack([self.layout.pack(_trained(run.model)) for run in runs]).to(device)
        buffers = [_fixed(run.model) for run in runs]
        self.buffers = {n: torch.stack([b[n] for b in buffers]).to(device) for n in buffers[0]}
        self.values = [_stacked_values([run.things[i] for run in runs], device) for i in range(5)]
        state = vmap(lambda w, v: bind(first.rule, v).init(w))(self.w, self.values[0])
        self.state = type(state)(*(s.clone() for s in state))
        self.generators = [generator(run.seed, "training") for run in runs]
        seeds = [int(torch.randint(2**62, (), generator=g)) for g in self.generators]  # as `fit` draws them
        self.key = torch.tensor(seeds, device=device)
        constant = Constant()
        self.schedules = [run.schedule or constant for run in runs]
        self.same_schedule = len({id(s) for s in self.schedules}) == 1 and not hasattr(self.schedules[0], "init")
        self.pace = [s.init() if hasattr(s, "update") else None for s in self.schedules]
        self.records, self.step_loss, self.evaluations = [[] for _ in runs], [], {}
        self.best = [None] * len(runs)
        self.best_w, self.best_buffers = self.w.clone(), {n: b.clone() for n, b in self.buffers.items()}
        self.running, self.diverged_at = [True] * len(runs), [None] * len(runs)
        self.end_w, self.end_buffers = self.w.clone(), {n: b.clone() for n, b in self.buffers.items()}

    def _check(self, model, run):
        data = tuple(t[0] if not self.shared else t for t in self.data)
        check_data(model.train(), *data, self.n % self.batch_size or self.batch_size, {"loss": run.loss}, "data")
        if self.val is not None:
            val = tuple(t[0] if not self.shared_val else t for t in self.val)
            check_data(model.eval(), *val, 2, {"loss": run.loss, **self.group.metrics}, "val_data")

    def train(self) -> dict:
        runs, step = len(self.group.runs), 0
        per_epoch = batches_per_epoch(self.n, self.batch_size)
        with (
            torch.no_grad(),
            fork_global(torch.Generator().manual_seed(int(self.key[0]))),  # for layers that draw by themselves
            progress_bar(self.epochs * per_epoch * runs, unit="update", show=self.group.progress) as bar,
        ):
            self._trace(per_epoch)
            for epoch in range(1, self.epochs + 1):
                losses, factor = self._epoch(step, bar)
                step += per_epoch
                self._close(epoch, step, losses, factor)
                if not any(self.running):
                    break
        return {
            "records": self.records,
            "step_loss": [self._losses_of(r) for r in range(runs)],
            "diverged_at": self.diverged_at,
            "weights": self.layout.plain(self.end_w).cpu(),
            "buffers": {n: b.cpu() for n, b in self.end_buffers.items()},
            "unstacked": None,
        }

    def _trace(self, per_epoch):
        """Make the step for full batches, compiled where that repays, and that for a smaller last batch."""
        rest = self.n % self.batch_size
        whole = self._step(self.batch_size, per_epoch - bool(rest))
        self.steps = [(whole, self.batch_size, per_epoch - bool(rest))]
        if rest:
            self.steps.append((self._step(rest, 1), rest, 1))

    def _step(self, batch, steps):
        first, group, device = self.group.runs[0], self.group, self.w.device
        runs, number = len(group.runs), {"dtype": torch.float64, "device": device}
        example = (
            self.w, self.buffers, self.state, self.key, self.values, torch.ones((), **number),
            torch.ones(runs, **number), torch.zeros(runs, batch, dtype=torch.int64, device=device), *self.data,
        )  # fmt: skip
        make = StackedStep, self.template, self.layout, first.things, first.augment
        return _made(make, example, self.shared, group.compile, steps * self.epochs)

    def _epoch(self, step, bar):
        runs, device = len(self.group.runs), self.w.device
        order = torch.stack([torch.randperm(self.n, generator=g) for g in self.generators])
        losses, start = [], 0
        for stacked, batch, steps in self.steps:
            index = order[:, start : start + batch * steps].view(runs, steps, batch).transpose(0, 1).contiguous()
            done = step + start // self.batch_size
            factor = torch.tensor([self._factors(done + i) for i in range(steps)], dtype=torch.float64)
            factor = factor.expand(steps, runs).contiguous()
            t = torch.arange(done + 1, done + steps + 1, dtype=torch.float64)
            arguments = (self.w, self.buffers, self.state, self.key, self.values)
            for value in stacked.epoch(*arguments, t.to(device), factor.to(device), index.to(device), *self.data):
                losses.append(value)
                bar.update(runs)
            start += batch * steps
        return torch.stack(losses), factor[-1].tolist()

    def _factors(self, t):
        """Return the factor of each run after t finished steps; one for all, where all have the same schedule."""
        if self.same_schedule:
            return [self.schedules[0](t)]
        return [s(t) if p is None else float(p.factor) for s, p in zip(self.schedules, self.pace, strict=True)]

    def _close(self, epoch, step, losses, factor):
        """Measure every run that is still running, as `fit` does at the end of an epoch."""
        losses = losses.cpu()
        self.step_loss.append(losses)
        finite, of_runs = torch.isfinite(losses), losses.double().T.tolist()
        first_bad = [None if ok else int(finite[:, r].int().argmin()) for r, ok in enumerate(finite.all(0).tolist())]
        measured = self._measure()
        for r, run in enumerate(self.group.runs):
            if not self.running[r]:
                continue
            values = {n: m[r] for n, m in measured.items()}
            if first_bad[r] is not None or not math.isfinite(values.get("val_loss", 0.0)):
                self.diverged_at[r] = step if first_bad[r] is None else step - len(losses) + 1 + first_bad[r]
                self._stop(r)
                continue
            mean = math.fsum(of_runs[r]) / len(losses)
            lr = float(run.rule.lr) * factor[r]
            self.records[r].append({"epoch": epoch, "step": step, "lr": lr, "train_loss": mean, **values})
            if self.val is not None:
                self._compare_with_best(r, run)
            if self.running[r] and epoch == self.epochs:
                self._stop(r)

    def _compare_with_best(self, r, run):
        record = self.records[r][-1]
        if self.best[r] is None or record["val_loss"] < self.best[r]["val_loss"]:
            self.best[r] = record
            if self.group.restore_best:
                self.best_w[r] = self.w[r]
                for n, b in self.buffers.items():
                    self.best_buffers[n][r] = b[r]
        if self.pace[r] is not None:
            self.pace[r] = self.schedules[r].update(self.pace[r], record["val_loss"])
        if run.patience is not None and record["epoch"] - self.best[r]["epoch"] >= run.patience:
            self._stop(r)

    def _stop(self, r):
        """Keep the run's weights of this moment, or its best ones; the stack goes on without looking at it."""
        self.running[r] = False
        best = self.group.restore_best and self.best[r] is not None
        self.end_w[r] = (self.best_w if best else self.w)[r]
        for n in self.buffers:
            self.end_buffers[n][r] = (self.best_buffers if best else self.buffers)[n][r]

    def _losses_of(self, r):
        losses = torch.cat(self.step_loss)[:, r]
        end = self.diverged_at[r] - 1 if self.diverged_at[r] else self.records[r][-1]["step"]
        return losses[:end]

    def _measure(self) -> dict[str, list[float]]:
        if self.val is None:
            return {}
        names = ["val_loss", *(f"val_{name}" for name in self.group.metrics)]
        metrics = list(self.group.metrics.values())
        axis, n = (0, len(self.val[0])) if self.shared_val else (1, self.val[0].shape[1])
        totals = [0.0] * len(names)
        for x, y in zip(self.val[0].split(1024, axis), self.val[1].split(1024, axis), strict=True):
            example = (self.w, self.buffers, self.values[4], x, y)
            if x.shape not in self.evaluations:
                make = StackedEvaluation, self.template, self.layout, self.group.runs[0].loss, metrics
                self.evaluations[x.shape] = _made(make, example, self.shared_val, self.steps[0][0].compiled)
            values = self.evaluations[x.shape](*example)
            totals = [total + v.double() * (x.shape[axis] / n) for total, v in zip(totals, values, strict=True)]
        return {name: total.tolist() for name, total in zip(names, totals, strict=True)}


def _trained(model) -> dict[str, Tensor]:
    return {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}


def _fixed(model) -> dict[str, Tensor]:
    """Return what the rule does not change but may differ between runs: buffers and frozen parameters."""
    frozen = {n: p.detach() for n, p in model.named_parameters() if not p.requires_grad}
    return frozen | dict(model.named_buffers())


def _stacked_values(things, device):
    """Return name → (R,) float64 for one thing of each run, or a list of such for tuples of things."""
    if isinstance(things[0], tuple):
        return [_stacked_values(column, device) for column in zip(*things, strict=True)]
    names = hyperparameters(things[0])
    return {n: torch.tensor([hyperparameters(t)[n] for t in things], dtype=torch.float64, device=device) for n in names}
