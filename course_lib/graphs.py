"""The graph of a function of tensors: traced, split, and compiled where a compiler is there.

`stacking` is what uses it: a training step of many runs becomes one graph of tensor operations, what depends on
the step's number and the hyperparameters alone is taken out of it, and the rest is compiled.
"""

import os
import platform
import shutil
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch._guards import TracingContext, tracing
from torch._subclasses import FakeTensorMode
from torch.fx import Graph, GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

__all__ = ["NotStackable", "can_compile", "compile_graph", "hoist", "numel", "trace"]


class NotStackable(RuntimeError):
    """The model or loss cannot be mapped over runs, for the reason in the message."""


def can_compile(device: torch.device) -> bool:
    """Return whether there is a compiler for this device: a C++ one for the CPU, Triton for CUDA."""
    if device.type == "cuda":
        from importlib.util import find_spec

        return find_spec("triton") is not None
    return shutil.which(os.environ.get("CXX", "g++")) is not None or shutil.which("clang++") is not None


def trace(function, leaves) -> GraphModule:
    """Return the tensor operations that the function does on these tensors.   Raises: NotStackable with the reason."""
    try:
        with tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True))):  # else a new mode for each node
            return make_fx(function)(*leaves)
    except Exception as error:  # whatever a reader's module raises under the map
        raise NotStackable(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}") from error


def numel(node) -> int:
    """Return the number of elements of a node's result; 0 where it is no tensor."""
    value = node.meta.get("val")
    return value.numel() if isinstance(value, Tensor) else 0


def hoist(traced: GraphModule, small, runs: int, leaves):
    """Split off what depends on the small inputs alone and has at most one number for each run.

    Returns the graph of that part (or None), the rest with the part's results as further inputs, an example of those
    results, and for each input of the rest whether it is still needed: the others are no inputs any more. Results of
    one shape and dtype come stacked, as one input.
    """
    nodes = list(traced.graph.nodes)
    inputs = [n for n in nodes if n.op == "placeholder"]
    early, neutral = {inputs[i] for i in small}, set()
    for node in nodes:
        if node.op in ("placeholder", "output") or numel(node) > runs:
            continue
        sources = node.all_input_nodes
        if node.op == "get_attr" or (not sources and node.op == "call_function"):
            neutral.add(node)
        elif isinstance(node.meta.get("val"), Tensor) and all(s in early or s in neutral for s in sources):
            (early if any(s in early for s in sources) else neutral).add(node)
    for node in [n for n in nodes if n not in early and n.target is torch.ops.aten.div.Tensor and n.args[1] in early]:
        _multiply_instead(node, early)
    nodes = list(traced.graph.nodes)
    cut = {}
    for n in nodes:
        if n in early and n.op != "placeholder" and any(u not in early for u in n.users):
            cut.setdefault((n.meta["val"].shape, n.meta["val"].dtype), []).append(n)
    before, rest = Graph(), Graph()
    to_before, to_rest = {}, {}
    for node in nodes:
        if node in neutral or node in early:
            to_before[node] = before.node_copy(node, to_before.__getitem__)
        if node.op == "placeholder":
            to_rest[node] = rest.node_copy(node)
    stacks = [rest.placeholder(f"early_{i}") for i in range(len(cut))]
    for stack, alike in zip(stacks, cut.values(), strict=True):
        for i, node in enumerate(alike):
            to_rest[node] = rest.call_function(torch.ops.aten.select.int, (stack, 0, i))
    for node in nodes:
        if node not in to_rest and node not in early:
            to_rest[node] = rest.node_copy(node, to_rest.__getitem__)
    stack = torch.ops.aten.stack.default
    before.output(tuple(before.call_function(stack, ([to_before[n] for n in alike],)) for alike in cut.values()))
    before.eliminate_dead_code()
    rest.eliminate_dead_code()
    needed = []
    for node in [n for n in rest.nodes if n.op == "placeholder"]:
        needed.append(bool(node.users))
        if not node.users:
            rest.erase_node(node)
    before, rest = GraphModule(traced, before), GraphModule(traced, rest)
    return (before if cut else None), rest, list(before(*(leaves[i] for i in small))), needed


def _multiply_instead(division, early) -> None:
    """Make a / b into a · (1/b), whose 1/b is computed once an epoch: of Adam's three divisions two go."""
    a, b = division.args
    graph = division.graph
    with graph.inserting_before(division):
        inverse = graph.call_function(torch.ops.aten.reciprocal.default, (b,))
    inverse.meta["val"] = torch.ops.aten.reciprocal.default(b.meta["val"])
    early.add(inverse)
    division.target, division.args = torch.ops.aten.mul.Tensor, (a, inverse)


_OPTIONS = {
    "size_asserts": False,  # of what the compiler made itself, at every call: 6 % of a small step
    # ten processes that only try whether what the processor says of itself is so: half of a first compilation
    "cpp.vec_isa_ok": True if platform.machine() in ("x86_64", "AMD64") else None,
}


def compile_graph(graph: GraphModule, inputs) -> tuple[Callable, bool]:
    """Return the graph compiled, and True; or the graph itself, False and a warning where the compiler fails.

    On a CPU the kernels are called from C++: a dense step of 32 runs takes 0.85 of the time. A graph whose calls
    cannot be written so has them in Python.
    """
    from torch import _inductor
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    for node in graph.graph.find_nodes(op="placeholder"):
        node.meta.pop("val", None)  # the compiler is to look at the inputs
    for cpp_wrapper in (True, False) if all(x.device.type == "cpu" for x in inputs) else (False,):
        options = _OPTIONS | {"cpp_wrapper": cpp_wrapper}
        try:  # the context lets the compiler keep its result on disk
            with tracing(TracingContext(FakeTensorMode(shape_env=ShapeEnv()))), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the compiler's own parts
                compiled = _inductor.compile(graph, inputs, options=options)
                return getattr(compiled, "_torchdynamo_orig_callable", compiled), True  # without Dynamo's guard: 3 %
        except Exception as error:  # a broken compiler must not cost the results
            reason = f"{type(error).__name__} {str(error).strip().splitlines()[:1]}"
    warnings.warn(f"the stack could not be compiled and runs uncompiled: {reason}", stacklevel=2)
    return graph, False
