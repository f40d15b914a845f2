import warnings

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from course_lib import plots

POINTS = {"a": np.eye(2), "b": np.zeros((2, 2))}
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
    "regions": lambda: plots.regions(
        {"line": torch.eye(3), "one class": np.zeros((3, 3))}, POINTS, "x", "y", span=(-1, 1, -1, 1)
    ),
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


LINE = {"a": [1, 2]}


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.lines({"a": ([1, 2], [1, 2, 3])}, "x", "y"), "one length"),
        (lambda: plots.lines(LINE, "x", "y", bands={"b": ([1, 1], [2, 2])}), r"bands has \['b'\]"),
        (lambda: plots.panels({"p": LINE}, "x", "y", bands={"a": {}}), r"bands has \['a'\]"),
        (lambda: plots.panels({"p": LINE}, "x", "y", bands={"p": {"b": ()}}), r"bands has \['b'\]"),
        (lambda: plots.panels({"p": LINE}, "x", "y", points={"a": ()}), r"points has \['a'\]"),
        (lambda: plots.panels({}, "x", "y"), "nothing to draw"),
        (lambda: plots.bars({"a": 1}, "y", errors={"b": (0, 1)}), r"errors has \['b'\]"),
        (lambda: plots.images(torch.rand(8, 8)), "pictures are"),
        (lambda: plots.images(torch.rand(3, 8, 8), "ab"), "one title for each of the 3"),
    ],
)
def test_what_cannot_be_drawn_is_refused_and_leaves_no_figure(draw, words):
    # catches: a band silently left out; an empty figure that the notebook shows under the error
    with pytest.raises(ValueError, match=words):
        draw()
    assert plt.get_fignums() == []


def looks(figure):
    return [
        {line.get_label(): (line.get_color(), line.get_linestyle(), line.get_marker()) for line in ax.get_lines()}
        for ax in figure.axes
    ]


def test_a_name_looks_the_same_in_every_panel_and_is_in_the_legend():
    # catches: colours given by place, so that "b" alone looks like "a"; a legend of the first panel only
    figure = plots.panels({"1": {"a": [1, 2], "b": [2, 1]}, "2": {"b": [1, 2], "c": [1, 1]}}, "x", "y", markers=True)
    first, second = looks(figure)
    assert first["b"] == second["b"]
    assert len({first["a"], first["b"], second["c"]}) == 3
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["a", "b", "c"]


def test_ten_classes_have_ten_looks():
    # catches: IndexError at the eighth group; the eighth curve drawn as the first
    names = [str(i) for i in range(10)]
    (drawn,) = looks(plots.lines({n: [1, 2] for n in names}, "x", "y", markers=True))
    assert len(set(drawn.values())) == 10
    figure = plots.scatter({"digits": {n: np.eye(2) for n in names}}, "x", "y")
    assert [t.get_text() for t in figure.legends[0].get_texts()] == names


def test_a_reference_line_and_bars_are_where_they_should_be():
    # catches: a level drawn at another height, an interval at the wrong bar, shares that are counts
    ax = plots.lines(LINE, "x", "y", level=("chance", 2.3)).axes[0]
    assert list(ax.get_lines()[-1].get_ydata()) == [2.3, 2.3]
    assert [list(ax.get_lines()[0].get_xdata()), ax.get_xlabel(), ax.get_ylabel()] == [[1, 2], "x", "y"]
    assert all(tick % 1 == 0 for tick in ax.get_xticks())  # no epoch 1.5
    ax = plots.lines(LINE, "x", "y", bands={"a": ([0, 1], [3, 5])}).axes[0]
    assert ax.collections[0].get_datalim(ax.transData).intervaly.tolist() == [0, 5]
    ax = plots.images(torch.tensor([[[0.25, 0.5]]])).axes[0]
    assert ax.images[0].get_clim() == (0.25, 0.5)
    ax = plots.bars({"a": 0.5, "b": 0.7}, "accuracy", errors={"b": (0.6, 0.8)}).axes[0]
    assert [bar.get_height() for bar in ax.patches] == [0.5, 0.7]
    assert [list(ax.get_lines()[0].get_xdata()), list(ax.get_lines()[0].get_ydata())] == [[1, 1], [0.6, 0.8]]
    ax = plots.histograms({"a": [1.0, 1.0, 2.0, 3.0]}, "value", bins=2).axes[0]
    assert [bar.get_height() for bar in ax.patches] == [0.5, 0.5]
    ax = plots.intervals({"a": (0, -1, 1), "b": (1, 0, 2)}, "effect").axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first row on top


def test_a_notebook_shows_the_figure_once_as_svg():
    # catches: nothing shown (closed before IPython sees it), a PNG, or the same figure twice
    nbformat = pytest.importorskip("nbformat")
    from nbclient import NotebookClient

    code = "from course_lib import plots\nplots.lines({'a': [1, 2]}, 'x', 'y')"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    shown = [set(o.data) for o in notebook.cells[0].outputs if "data" in o]
    assert shown == [{"image/svg+xml", "text/plain"}]


def test_regions_put_the_first_row_at_the_bottom_and_each_class_in_one_colour():
    # catches: an image that hangs upside down under its points, a region in the colour of another class
    classes = torch.tensor([[1, 1], [0, 0]])  # class 1 below, class 0 above
    ax = plots.regions({"": classes}, POINTS, "x", "y", span=(0, 1, 0, 1)).axes[0]
    image = ax.images[0]
    assert image.origin == "lower"
    assert list(image.get_extent()) == [0, 1, 0, 1]
    for points, number in zip(ax.collections[-2:], (0, 1), strict=True):
        assert np.allclose(points.get_facecolor()[0, :3], image.cmap(image.norm(number))[:3])


def test_points_lie_in_their_own_panel():
    # catches: dots in every panel, or joined by a line
    at = torch.tensor([0.5, 1.5]), torch.tensor([3.0, 4.0])
    first, second = plots.panels({"a": {"f": [1, 2]}, "b": {"f": [1, 2]}}, "x", "y", points={"b": at}).axes
    (dots,) = set(second.lines[1:])
    assert len(first.lines) == 1
    assert (dots.get_linestyle(), dots.get_marker()) == ("None", "o")
    np.testing.assert_array_equal(dots.get_xydata(), np.stack(at, 1))
