"""Many networks as one: the training step of R runs, mapped over a leading axis, traced and compiled.

`StackedStep` takes the pure step of `training`, maps it over the runs with `torch.func.vmap`, traces it to a
graph of tensor operations, and compiles the graph where that repays. What depends on the step's number and the
hyperparameters alone (such as βᵗ) is taken out and computed once for a whole epoch.
`sweeps` is what uses it.   Chapter: 07_initialization, 11_optimizers.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from itertools import chain, compress, repeat
from numbers import Real
from types import MethodType

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils import _pytree as pytree

from course_lib.flat import Layout
from course_lib.graphs import can_compile, compile_graph, hoist, numel, trace
from course_lib.mapped import mapped_model
from course_lib.optimizers import with_values
from course_lib.training import Update, make_step

__all__ = [
    "StackedEvaluation",
    "StackedStep",
    "bind",
    "hyperparameters",
    "signature",
]

COMPILE_REPAYS = 10  # seconds of uncompiled work; compiling takes 3 to 12 the first time


def hyperparameters(thing) -> dict[str, float]:
    """Return the numbers among the fields of a frozen dataclass: what may differ between the runs of a stack."""
    if not is_dataclass(thing):
        return {}
    values = {f.name: getattr(thing, f.name) for f in fields(thing)}
    return {n: float(v) for n, v in values.items() if isinstance(v, Real) and not isinstance(v, bool)}


def bind(thing, values):
    """Return the dataclass with these values in place of its numbers, unchecked; of a tuple, each with its own."""
    if isinstance(thing, tuple):
        return tuple(bind(t, v) for t, v in zip(thing, values, strict=True))
    return with_values(thing, **values) if values else thing


def signature(thing, *, numbers: bool = False):
    """Return a hashable description of all that two runs must share to be in one stack.

    Of a model: the classes, names and settings of its modules, the shapes of its tensors; not their values.
    Of a dataclass: its class and the fields that are no numbers, as each run brings its own; with numbers=True, as
    for what a model or another dataclass holds, those too.
    Of a function: itself, or, if it was made anew, its code and what it holds.
    """
    whole = functools.partial(signature, numbers=True)
    if isinstance(thing, nn.Module):
        own = {n: v for n, v in vars(thing).items() if n not in _NOT_SETTINGS}
        tensors = [(n, tuple(t.shape), t.dtype, t.requires_grad) for n, t in _own_tensors(thing)]
        children = [(n, whole(m)) for n, m in thing.named_children()]
        return (type(thing), tuple(tensors), tuple(children), whole(own))
    if isinstance(thing, dict):
        return tuple((signature(k, numbers=numbers), signature(v, numbers=numbers)) for k, v in thing.items())
    if isinstance(thing, list | tuple):
        return (type(thing), *(signature(t, numbers=numbers) for t in thing))
    if isinstance(thing, set):
        return frozenset(map(whole, thing))
    if is_dataclass(thing) and not isinstance(thing, type):
        own = {} if numbers else hyperparameters(thing)
        return (type(thing), *((f.name, whole(getattr(thing, f.name))) for f in fields(thing) if f.name not in own))
    if isinstance(thing, MethodType):
        return (whole(thing.__func__), whole(thing.__self__))
    if hasattr(thing, "__code__"):
        held = [cell.cell_contents for cell in thing.__closure__ or ()]
        return (thing.__code__, *map(whole, (held, thing.__defaults__, thing.__kwdefaults__)))
    if isinstance(thing, Tensor):
        return (tuple(thing.shape), thing.dtype, tuple(thing.detach().cpu().flatten().tolist()))
    try:
        hash(thing)
    except TypeError:
        return object()  # equal to nothing else
    return (type(thing), thing)


_NOT_SETTINGS = {"_parameters", "_buffers", "_modules"}


def _own_tensors(module):
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)


class StackedStep:
    """One training step of R runs, in place on their weights, buffers and rule states.

    model: any run's model, for its structure.   layout: of its trained parameters.   things: the update's rule,
    penalty, clip and constraint (tuples allowed) and the loss, whose numbers come with each run.
    example: the arguments of a call (w, buffers, state, key, values, t, factor, index, x, y), for their shapes.
    shared_data: x, y have no axis of runs.   compile: True, False, or "auto": where a compiler is there and `steps`
    steps would take longer uncompiled than compiling and running them.
    Raises: NotStackable if the model cannot be mapped.
    """

    def __init__(self, model, layout: Layout, things, augment, example, shared_data: bool, compile, steps: int):
        model = mapped_model(model).train()
        step = make_step(model, layout, augment)

        def one(w, buffers, state, key, values, t, factor, x, y):
            *update, loss = [bind(thing, v) for thing, v in zip(things, values, strict=True)]
            return step(Update(*update), loss, w, buffers, state, key, t, factor, x, y)

        mapped = vmap(one, in_dims=(0, 0, 0, 0, 0, None, 0, 0, 0), randomness="different")
        self._shared = shared_data
        example = (*example[:-1], self._rows(example[-1], example[-3]))
        leaves, structure = pytree.tree_flatten(example)
        sizes = [len(pytree.tree_leaves(part)) for part in example]
        small = range(sum(sizes[:4]), sum(sizes[:7]))  # values, t, factor

        def in_place(*leaves):
            *arguments, index, x, y = pytree.tree_unflatten(leaves, structure)
            batch = self._rows(x, index)
            batch = batch.as_strided(batch.shape, batch.stride())  # else compiled code looks each row up at each use
            *new, value = mapped(*arguments, batch, y)
            for a, b in zip(pytree.tree_leaves(arguments[:3]), pytree.tree_leaves(tuple(new)), strict=True):
                a.copy_(b)
            return (value,)

        leaves = [leaf.clone() for leaf in leaves]
        with torch.no_grad():
            graph = trace(in_place, leaves)
            self._before, self._step, extra, self._needed = hoist(graph, small, len(example[3]), leaves)
            self.operations = sum(node.op == "call_function" for node in graph.graph.nodes)
            self.elements = sum(map(numel, graph.graph.nodes))
            device, self.compiled, self._tables = leaves[0].device, False, {}
            if compile is True or (compile == "auto" and self.repays(steps) and can_compile(device)):
                self._step, self.compiled = compile_graph(self._step, [*compress([*leaves, *extra], self._needed)])

    def repays(self, steps: int) -> bool:
        """Return whether compiling saves time over this many steps; from sizes alone, the same for equal calls."""
        return steps * (2e-6 * self.operations + 2e-10 * self.elements) > COMPILE_REPAYS

    def epoch(self, w, buffers, state, key, values, t, factor, index, x, y):
        """Yield the runs' losses (R,) of each step in turn, before its update.

        w: (R, P).   buffers: name → (R, …).   state: of the rule, (R, …).   key: (R,) int64.
        values: for each thing name → (R,) float64.   t: (S,) float64, numbers of the updates, from 1.
        factor: (S, R) float64.   index: (S, R, batch) int64.   x, y: (N, …), or (R, N, …) if not shared.
        """
        once, early = pytree.tree_leaves(values), ()
        if self._before is not None:
            if len(t) not in self._tables:
                dims = (*[None] * len(once), 0, 0)
                self._tables[len(t)] = trace(vmap(self._before, dims), [*once, t, factor])
            early = self._tables[len(t)](*once, t, factor)
        # targets are gathered here for many steps at once, as a compiled loss would gather each anew
        targets = chain.from_iterable(self._rows(y, some).unbind(0) for some in index.split(_at_once(index, y)))
        every_step = map(repeat, pytree.tree_leaves((w, buffers, state, key, values)))
        inputs = compress([*every_step, t, factor, index, repeat(x), targets, *early], self._needed)
        inputs = [one.unbind(0) if isinstance(one, Tensor) else one for one in inputs]
        for _, arguments in zip(range(len(t)), zip(*inputs, strict=False), strict=False):
            (value,) = self._step(*arguments)
            yield value

    def _rows(self, x, index):
        """Return the rows of batches (…, R, batch)."""
        return x[index] if self._shared else x[torch.arange(len(x), device=x.device)[:, None], index]


class StackedEvaluation:
    """The loss and the metrics of R runs, in evaluation mode: called with (w, buffers, values, x, y) → list of (R,).

    values: name → (R,), the loss's numbers.   example: the arguments of a call, for their shapes.
    shared_data, compile: as in `StackedStep`.   Raises: NotStackable if the model or a metric cannot be mapped.
    """

    def __init__(self, model, layout: Layout, loss, metrics: list[Callable], example, shared_data: bool, compile: bool):
        model, data = mapped_model(model).eval(), None if shared_data else 0
        leaves, structure = pytree.tree_flatten(example)

        def one(w, buffers, values, x, y):
            out = functional_call(model, (layout.unpack(w), buffers), (x,))
            return [measure(out, y) for measure in (bind(loss, values), *metrics)]

        mapped = vmap(one, in_dims=(0, 0, 0, data, data))
        self._graph = trace(lambda *leaves: mapped(*pytree.tree_unflatten(leaves, structure)), leaves)
        self.compiled = False
        if compile:
            self._graph, self.compiled = compile_graph(self._graph, leaves)

    def __call__(self, *arguments):
        """Return the loss and each metric of every run."""
        return self._graph(*pytree.tree_leaves(arguments))


def _at_once(index, y) -> int:
    """Return for how many steps to gather the targets at once: as many as make some megabytes."""
    return max(1, 2**22 // max(1, index[0].numel() * math.prod(y.shape[1:])))
