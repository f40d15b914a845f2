"""What a sweep runs: the product of seeds and settings, each setting put where it belongs, and stacked by shape.

Used by: sweeps.
"""

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from numbers import Real

from torch import nn

from course_lib.data import as_tensors
from course_lib.groups import Run
from course_lib.names import check_name
from course_lib.rng import generator
from course_lib.stacking import signature

__all__ = ["grouped", "runs_of"]

SETTINGS = ("rule", "schedule", "penalty", "clip", "constraint", "augment", "loss", "batch_size", "epochs", "patience")
_RESERVED = ("seed", "run", "epoch", "step", "scheduled_lr", "train_loss", "diverged_at", "best_epoch")


def runs_of(build: Callable, data, val_data, settings: dict, seeds: Sequence[int], grid: Mapping) -> list[Run]:
    """Return one `Run` for every seed and every point of the grid.

    settings: what `Run` takes besides model, data and labels; a key of the grid replaces it.
    Raises: ValueError for seeds that repeat, a key that is no setting, no field of the rule and no parameter of
    `build`, or a grid without values; TypeError where `build` makes no module.
    """
    seeds = list(seeds)
    if len(set(seeds)) != len(seeds) or not seeds:
        raise ValueError(f"seeds must be different numbers, at least one, got {seeds}")
    axes = {name: _labelled(name, values) for name, values in grid.items()}
    where = {name: _place(name, build, settings, axes) for name in axes}
    runs, cache = [], {}
    for point in itertools.product(*(axis.items() for axis in axes.values())):
        values = {name: value for name, (_, value) in zip(axes, point, strict=True)}
        labels = {name: label for name, (label, _) in zip(axes, point, strict=True)}
        chosen = settings | {n: v for n, v in values.items() if where[n] == "setting"}
        changed = {n: v for n, v in values.items() if where[n] == "rule"}
        chosen["rule"] = replace(chosen["rule"], **changed) if changed else chosen["rule"]
        options = {n: v for n, v in values.items() if where[n] == "build"}
        for seed in seeds:
            if seed not in cache:
                cache[seed] = _data(data, seed), None if val_data is None else _data(val_data, seed)
            model = build(generator(seed, "weights"), **options)
            if not isinstance(model, nn.Module):
                raise TypeError(f"build must return a torch.nn.Module, got {model!r}")
            train, val = cache[seed]
            runs.append(Run(labels=labels, seed=seed, model=model, data=train, val_data=val, **chosen))
    return runs


def _data(data, seed):
    return as_tensors(data(seed) if callable(data) else data)


def _labelled(name, values) -> dict:
    """Return label → value: the keys of a mapping, or the values of a list themselves where they are plain."""
    if name in _RESERVED:
        raise ValueError(f"{name!r} is a column of the results: give the hyperparameter another name")
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise ValueError(f"the grid's {name!r} must be a list of values, or labels mapped to them, got {values!r}")
    values = values if isinstance(values, Mapping) else list(values)
    labelled = dict(values) if isinstance(values, Mapping) else {_label(v): v for v in values}
    if not labelled or len(labelled) != len(values):
        raise ValueError(f"the grid's {name!r} must have at least one value, and no two alike, got {values!r}")
    return labelled


def _label(value):
    if value is None or isinstance(value, str | Real):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return value.item()
    return getattr(value, "__name__", None) or repr(value)


def _place(name, build, settings, axes) -> str:
    """Return where a key of the grid belongs: "setting", "rule" or "build"."""
    if name in SETTINGS:
        return "setting"
    rules = list(axes["rule"].values()) if "rule" in axes else [settings["rule"]]
    of_rules = [{f.name for f in fields(rule)} if is_dataclass(rule) else set() for rule in rules]
    parameters = inspect.signature(build).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    options = list(parameters)[1:]
    if all(name in own for own in of_rules):
        if name in options:
            raise ValueError(f"{name!r} is both a hyperparameter of the rule and of the model: rename build's")
        return "rule"
    if name not in options and any(name in own for own in of_rules):
        without = [type(rule).__name__ for rule, own in zip(rules, of_rules, strict=True) if name not in own]
        raise ValueError(f"{name!r} is no hyperparameter of {', '.join(without)}: sweep these rules apart")
    if name not in options and not anything:
        known = set(SETTINGS) | set.intersection(*of_rules) | set(options)
        check_name("hyperparameter", name, sorted(known))
    return "build"


def grouped(runs: Sequence[Run]) -> list[list[int]]:
    """Return the positions of runs that can be stacked, group by group, in the order in which they come."""
    groups: dict = {}
    for i, run in enumerate(runs):
        shapes = [(t.shape, t.dtype) for pair in (run.data, run.val_data or ()) for t in pair]
        key = (signature(run.model), signature(run.things), signature(run.augment), *shapes)
        groups.setdefault((key, run.batch_size, run.epochs), []).append(i)
    return list(groups.values())
