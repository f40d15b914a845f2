import warnings

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from course_lib import plots

FIGURES = {
    "lines": lambda: plots.lines(
        {"a": [1, 2, 4], "b": ([1, 2, 3], torch.ones(3, requires_grad=True))},
        "step",
        "loss",
        yscale="log",
        bands={"a": ([1, 1, 3], [2, 3, 5])},
        level=("chance", 2.3),
    ),
    "panels": lambda: plots.panels({t: {"a": [1, 2], "b": [2, 1]} for t in "xyz"}, "step", "loss", columns=2),
    "scatter": lambda: plots.scatter({"raw": {"a": np.eye(2), "b": np.ones((600, 2))}}, "x", "y"),
    "histograms": lambda: plots.histograms({t: torch.randn(50) for t in "abcd"}, "value"),
    "bars": lambda: plots.bars({"a": 0.5, "b": 0.7}, "accuracy", errors={"b": (0.6, 0.8)}),
    "intervals": lambda: plots.intervals({"a": (0, -1, 1), "b": (1, 0, 2)}, "effect", level=("none", 0)),
    "heatmap": lambda: plots.heatmap(torch.eye(3), "x", "y", label="share", xticks="abc", yticks="abc"),
    "images": lambda: plots.images(torch.rand(7, 3, 8, 8), [str(i) for i in range(7)]),
    "images, grey": lambda: plots.images(torch.rand(3, 8, 8)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_drawn_closed_and_leaves_the_settings_alone(name, tmp_path):
    # catches: a figure shown twice in a notebook, a style that leaks into the reader's own plots
    settings = dict(mpl.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = FIGURES[name]()
        figure.savefig(tmp_path / "figure.svg")
    assert dict(mpl.rcParams) == settings
    assert plt.get_fignums() == []
    if not name.startswith("images"):
        labels = [ax.get_xlabel() + ax.get_ylabel() for ax in figure.axes]
        assert any(labels) or figure.get_supxlabel()


def test_every_public_function_is_drawn_here():
    drawn = {name.split(",")[0] for name in FIGURES} | {"COLOURS"}
    assert drawn == set(plots.__all__)


def test_series_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="one length"):
        plots.lines({"a": ([1, 2], [1, 2, 3])}, "x", "y")
    with pytest.raises(ValueError, match="pictures are"):
        plots.images(torch.rand(8, 8))
    plt.close("all")


def test_a_notebook_shows_the_figure_once_as_svg():
    # catches: nothing shown (closed before IPython sees it), a PNG, or the same figure twice
    nbformat = pytest.importorskip("nbformat")
    from nbclient import NotebookClient

    code = "from course_lib import plots\nplots.lines({'a': [1, 2]}, 'x', 'y')"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    shown = [set(o.data) for o in notebook.cells[0].outputs if "data" in o]
    assert shown == [{"image/svg+xml", "text/plain"}]
