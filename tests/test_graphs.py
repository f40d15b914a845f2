"""The graph of a step: what is taken out of it, and that it computes the same."""

from itertools import compress

import pytest
import torch

from course_lib.graphs import NotStackable, compile_graph, hoist, numel, trace


def bias_corrected(w, beta, t):
    """Return what a step needs of w (R, P), where βᵗ is known beforehand: a sum, a product and a division by it."""
    known = (1 - beta**t)[:, None]
    return (w / known + w * known, known / w)


LEAVES = (
    torch.linspace(1, 2, 12, dtype=torch.float64).view(3, 4),
    torch.tensor([0.9, 0.5, 0.99], dtype=torch.float64),
    torch.tensor(7.0, dtype=torch.float64),
)


def test_what_depends_on_the_small_inputs_alone_is_taken_out_and_the_result_stays():
    # catches: an input in the wrong place, a division by the inverse, numerator and denominator exchanged
    before, step, extra, needed = hoist(trace(bias_corrected, LEAVES), range(1, 3), 3, LEAVES)
    assert all(map(torch.equal, before(*LEAVES[1:]), extra))
    assert needed == [True, False, False, True]  # catches: βᵗ and 1/βᵗ apart, β and t still given at each step
    for new, old in zip(step(*compress([*LEAVES, *extra], needed)), bias_corrected(*LEAVES), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-14, atol=0)
    targets = [node.target for node in step.graph.nodes]
    assert torch.ops.aten.pow.Tensor_Tensor not in targets  # catches: nothing taken out
    assert targets.count(torch.ops.aten.div.Tensor) == 1  # catches: the division by what is known still there


def test_a_graph_that_needs_no_small_input_has_nothing_taken_out():
    # catches: a cut where there is nothing to compute beforehand
    before, step, extra, needed = hoist(trace(lambda w, beta, t: (w * 2,), LEAVES), range(1, 3), 3, LEAVES)
    assert (before, extra, needed) == (None, [], [True, False, False])
    assert torch.equal(step(LEAVES[0])[0], LEAVES[0] * 2)


def test_numel_counts_a_tensor_and_nothing_else():
    # catches: the output node counted
    nodes = list(trace(lambda w, beta, t: (w * 2,), LEAVES).graph.nodes)
    assert [numel(node) for node in nodes] == [12, 3, 1, 12, 0]


def test_what_cannot_be_traced_says_why():
    # catches: the module's own error lost
    def fails(w, beta, t):
        raise RuntimeError("no batching rule\nand a long trace")

    with pytest.raises(NotStackable, match=r"RuntimeError: no batching rule$"):
        trace(fails, LEAVES)


@pytest.mark.parametrize("broken", [(), (True,)], ids=["whole", "without calls from C++"])
def test_kernels_are_called_from_cpp_on_a_cpu_and_from_python_where_that_fails(monkeypatch, broken):
    # catches: the slower form taken at once, the faster one's failure taken for the compiler's
    from torch import _inductor

    real, tried = _inductor.compile, []

    def compiler(graph, inputs, options):
        tried.append(options["cpp_wrapper"])
        if tried[-1] in broken:
            raise RuntimeError("this graph's calls cannot be written in C++")
        return real(graph, inputs, options=options)

    monkeypatch.setattr(_inductor, "compile", compiler)
    _, step, extra, needed = hoist(trace(bias_corrected, LEAVES), range(1, 3), 3, LEAVES)
    compiled, done = compile_graph(step, list(compress([*LEAVES, *extra], needed)))
    assert (done, tried) == (True, [True, False] if broken else [True])
    for new, old in zip(compiled(*compress([*LEAVES, *extra], needed)), bias_corrected(*LEAVES), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-14, atol=0)
