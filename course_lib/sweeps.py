"""Sweeps: the product of seeds and hyperparameters, trained side by side, as one table.

    result = sweep(build, train, Adam(), epochs=20, seeds=range(16), val_data=val, grid={"lr": [1e-3, 1e-2]})
    result.runs      # a row for each run: its labels, seed, and what it ended with
    result.frame     # a row for each run and epoch

Runs that differ in numbers alone are trained as one stack, with the step that `training.fit` takes; what differs in
shape becomes another group. A run of a sweep ends as `fit` ends alone.
Chapter: 07_initialization, 11_optimizers.   Checked against: separate runs of `fit`, 1e-10 in float64.
"""

import copy
import hashlib
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from course_lib import checkpoints
from course_lib.device import best_device
from course_lib.flat import Layout
from course_lib.grids import grouped, runs_of
from course_lib.groups import Group, Run, train
from course_lib.inputs import check_settings
from course_lib.losses import accuracy, cross_entropy
from course_lib.names import check_name, check_positive, check_whole
from course_lib.optimizers import Rule
from course_lib.progress import bar as progress_bar

__all__ = ["SweepError", "SweepResult", "over_seeds", "sweep"]


class SweepError(RuntimeError):
    """A sweep that could not be finished. Groups that were finished are in its folder, if it has one."""


@dataclass(frozen=True)
class SweepResult:
    """What a sweep measured.

    runs: a DataFrame, one row a run: run (its number), the grid's labels, lr, seed, diverged_at (step, or NaN), epochs
    (finished ones), then what was measured at the end: train_loss, val_loss, val_<metric>; and best_epoch and
    best_val_loss. A run that diverged has NaN there.
    frame: one row a run and finished epoch: run, labels, lr, seed, epoch, step, scheduled_lr and the measures.
    step_loss: for each run, the loss of every batch before its update, a tensor.
    """

    runs: object
    frame: object
    step_loss: list[torch.Tensor] = field(repr=False)
    _specs: list[Run] = field(repr=False)
    _ends: list[tuple] = field(repr=False)

    def model(self, run: int) -> nn.Module:
        """Return the trained network of this run, on the CPU, in evaluation mode."""
        check_whole("run", run, 0)
        if run >= len(self._specs):
            raise ValueError(f"run must be below {len(self._specs)}, the number of runs, got {run}")
        model, (weights, buffers) = copy.deepcopy(self._specs[run].model), self._ends[run]
        layout = Layout({n: p.detach() for n, p in model.named_parameters() if p.requires_grad})
        with torch.no_grad():
            for name, tensor in (layout.unpack(weights) | buffers).items():
                dict([*model.named_parameters(), *model.named_buffers()])[name].copy_(tensor)
        return model.eval()


def sweep(
    build: Callable[..., nn.Module],
    data,
    rule: Rule,
    *,
    epochs: int,
    seeds: Iterable[int],
    grid: Mapping[str, object] | None = None,
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
    restore_best: bool = False,
    device: torch.device | str | None = None,
    stack: bool = True,
    compile: bool | str = "auto",
    memory: float = 2e9,
    folder: str | Path | None = None,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> SweepResult:
    """Train a network for every seed and every point of the grid; return the results as tables.

    build: called with a generator (the weights of one seed are the same in every arm) and with those keys of the
    grid that are its parameters; returns an `nn.Module`.
    data, val_data: a Dataset, a pair (x, y), or a function of the seed that returns one.
    rule, loss, schedule, penalty, clip, constraint, augment, patience, restore_best, metrics: as in `training.fit`.
    seeds: of the runs; each draws its weights and its batches from its own generators.
    grid: name → values, or name → {label: value}. A name is one of these arguments (rule, schedule, loss, penalty,
    clip, constraint, augment, batch_size, epochs, patience), a field of the rule (lr, beta1), or a parameter of build.
    stack: False trains the runs one after another with `fit`.   compile: True, False, or "auto", where it repays.
    memory: bytes that a stack may use, about; larger groups are cut into equal parts.
    folder: keeps each finished group, so that a sweep that was stopped goes on where it was, when called again.
    executor: of `concurrent.futures`; groups are sent to it. Dask's is `Client.get_executor()`.
    progress: show a bar; None shows it on a terminal outside CI, after three seconds.
    Raises: ValueError or TypeError for settings that do not fit; SweepError where the executor dies, or another sweep
    writes to the folder. A run that diverges is no error: it is marked.
    """
    check_positive("memory", memory)
    check_whole("batch_size", batch_size)
    settings = {
        "rule": rule, "loss": loss, "schedule": schedule, "penalty": penalty, "clip": clip, "constraint": constraint,
        "augment": augment, "epochs": epochs, "batch_size": batch_size, "patience": patience,
    }  # fmt: skip
    runs = runs_of(build, data, val_data, settings, seeds, grid or {})
    for run in runs:
        follows = hasattr(run.schedule, "update")
        check_settings(run.model, run.rule, run.epochs, run.val_data, restore_best, None, run.patience, follows)
    metrics = {"accuracy": accuracy} if metrics is None else dict(metrics)
    device = best_device() if device is None else torch.device(device)
    alone = executor is None
    parts = [part for group in grouped(runs) for part in (_parts(group, runs[group[0]], memory) if stack else [group])]
    groups = [
        Group(tuple(runs[i] for i in part), metrics, device, restore_best, compile, stack, torch.get_num_threads(),
              progress if alone else False)
        for part in parts
    ]  # fmt: skip
    with _alone(folder) if folder is not None else nullcontext():
        outcomes = _all(groups, folder, executor, progress)
    for outcome, part in zip(outcomes, parts, strict=True):
        if outcome["unstacked"]:
            name, reason = type(runs[part[0]].model).__name__, outcome["unstacked"]
            warnings.warn(f"{name} can't be stacked, so its runs were trained one by one: {reason}", stacklevel=2)
    return _result(runs, parts, outcomes)


def over_seeds(table, x: str, y: str, by: str, band: float = 0.9) -> tuple[dict, dict]:
    """Return (series, bands) for `plots.lines`: y against x, one curve for each value of `by`, over the seeds.

    table: `SweepResult.runs` or `.frame`, or a part of it.   x, y, by: columns; y may hold NaN, as of diverged runs.
    series: label → (x, median over the seeds).   bands: label → (low, high), the middle `band` of them.
    A point is left out where fewer than half of the seeds have a value.
    Raises: ValueError for a column that the table has not, or a band outside (0, 1].
    """
    for column in (x, y, by):
        check_name("column", column, list(table.columns))
    if not 0 < band <= 1:
        raise ValueError(f"band must be a share in (0, 1], got {band}")
    series, bands = {}, {}
    for label, part in table.groupby(by, sort=False):
        grouped = part.groupby(x)[y]
        kept = grouped.count() * 2 >= grouped.size()
        low, middle, high = (grouped.quantile(q)[kept] for q in ((1 - band) / 2, 0.5, (1 + band) / 2))
        series[str(label)] = (middle.index.to_numpy(float), middle.to_numpy())
        bands[str(label)] = (low.to_numpy(), high.to_numpy())
    return series, bands


def _parts(group: list[int], run: Run, memory: float) -> list[list[int]]:
    """Cut a group so that each part keeps to the memory: equal parts, which share one compiled step."""
    size = run.data[0].element_size()
    weights = sum(p.numel() for p in run.model.parameters())
    rows = run.batch_size * run.data[0][0].numel()
    values = 12 * weights + 40 * (rows + run.batch_size * sum(_widths(run.model)))  # states, copies; activations
    most = max(1, int(memory / (size * values)))
    count = -(-len(group) // most)
    step = -(-len(group) // count)
    return [group[i : i + step] for i in range(0, len(group), step)]


def _widths(model):
    return [m.weight.shape[0] for m in model.modules() if getattr(m, "weight", None) is not None]


def _all(groups, folder, executor, progress) -> list[dict]:
    """Train what is not in the folder yet, here or through the executor, and keep each group that is finished."""
    files = [None if folder is None else Path(folder) / f"{_fingerprint(group)}.sweep" for group in groups]
    outcomes = [_kept(file, group) for file, group in zip(files, groups, strict=True)]
    waiting = [i for i, outcome in enumerate(outcomes) if outcome is None]

    def keep(i, outcome):
        outcomes[i] = outcome
        if files[i] is not None:
            checkpoints.save(files[i], outcome, {"group": files[i].stem})

    if executor is None:
        for i in waiting:
            keep(i, train(groups[i]))
        return outcomes
    total = sum(len(groups[i].runs) for i in waiting)
    with progress_bar(total, unit="run", show=progress) as bar:
        futures = {}
        try:
            futures = {i: executor.submit(train, groups[i]) for i in waiting}
            for i, future in futures.items():
                keep(i, future.result())
                bar.update(len(groups[i].runs))
        except BrokenExecutor as error:
            for i, future in futures.items():  # what was finished is not lost
                if outcomes[i] is None and future.done() and not future.cancelled() and future.exception() is None:
                    keep(i, future.result())
            done = sum(outcome is not None for outcome in outcomes)
            remedy = (
                "they are in the folder: call the sweep again" if folder else "give the sweep a folder to keep them"
            )
            reason = f"the executor died, {done} of {len(groups)} groups are finished ({error})"
            raise SweepError(f"{reason}: {remedy}") from error
        except BaseException:
            for future in futures.values():
                future.cancel()
            raise
    return outcomes


def _kept(file, group) -> dict | None:
    if file is None or not file.exists():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # another number of threads is another last bit, not another result
        return checkpoints.load(file, {"group": file.stem})


def _fingerprint(group: Group) -> str:
    """Return a name that is the same for the same runs in every process."""
    digest = hashlib.sha256()
    for run in group.runs:
        plain = {n: v for n, v in vars(run).items() if n not in ("model", "data", "val_data")}
        digest.update(repr(sorted((n, checkpoints.plain_name(v)) for n, v in plain.items())).encode())
        tensors = [*run.model.state_dict().values(), *run.data, *(run.val_data or ())]
        digest.update(checkpoints.digest_of(tensors).encode() + str(run.model).encode())
    metrics = {n: checkpoints.plain_name(m) for n, m in group.metrics.items()}
    digest.update(repr((metrics, group.device.type, group.restore_best, group.stack)).encode())
    return digest.hexdigest()[:24]


@contextmanager
def _alone(folder):
    """Hold the folder while a sweep writes to it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows has none: two sweeps there only train a group twice
        yield
        return
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SweepError(f"another sweep is writing to {folder}: wait for it, or choose another folder") from None
        yield


def _result(runs, parts, outcomes) -> SweepResult:
    import pandas as pd

    rows, ends, losses, history = [None] * len(runs), [None] * len(runs), [None] * len(runs), [[] for _ in runs]
    names = dict.fromkeys(n for o in outcomes for records in o["records"] for r in records for n in r)
    measures = [n for n in names if n not in ("epoch", "step", "lr")]
    for part, outcome in zip(parts, outcomes, strict=True):
        for j, i in enumerate(part):
            records, at = outcome["records"][j], outcome["diverged_at"][j]
            labels = {"run": i, **runs[i].labels}
            labels |= {"lr": float(runs[i].rule.lr), "seed": runs[i].seed}
            last = records[-1] if records and at is None else {}
            best = (
                min(records, key=lambda r: r.get("val_loss", 0), default={})
                if "val_loss" in names and at is None
                else {}
            )
            rows[i] = labels | {"diverged_at": math.nan if at is None else at, "epochs": len(records)}
            rows[i] |= {n: last.get(n, math.nan) for n in measures}
            if "val_loss" in names:
                rows[i] |= {"best_epoch": best.get("epoch", math.nan), "best_val_loss": best.get("val_loss", math.nan)}
            history[i] = [labels | {("scheduled_lr" if n == "lr" else n): v for n, v in r.items()} for r in records]
            losses[i] = outcome["step_loss"][j]
            ends[i] = outcome["weights"][j], {n: b[j] for n, b in outcome["buffers"].items()}
    frame = pd.DataFrame([row for rows_of in history for row in rows_of])
    return SweepResult(pd.DataFrame(rows), frame, losses, runs, ends)
