"""Interactive figures: one piece of HTML that is safe and whole, and shows the runs that it was given."""

import json
import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch

from course_lib.interactive import explorer

CHOICES = {"rule": ["plain", "heavy"], "rate": [0.1, 1e-3], "β": [0.5, 0.9]}
WINDOW = ((-2.0, 3.0), (-1.0, 1.0))


def paths():
    keys = [("plain", rate, None) for rate in CHOICES["rate"]]
    keys += [("heavy", rate, beta) for rate in CHOICES["rate"] for beta in CHOICES["β"]]
    draws = torch.Generator().manual_seed(0)
    return {key: torch.rand(7, 2, generator=draws) * 4 - 2 for key in keys}


def shown(**changes):
    given = {
        "title": "Two rules",
        "choices": CHOICES,
        "paths": paths(),
        "measure": "loss",
        "first": ("heavy", 0.1, 0.9),
    }
    given |= {"window": WINDOW, "labels": ("across", "up"), "alt": "A path.", "contours": [np.eye(2)], "goal": (0, 0)}
    given |= changes
    given.setdefault("results", dict.fromkeys(given["paths"], 0.25))
    return explorer(given.pop("title"), given.pop("choices"), given.pop("paths"), given.pop("results"), **given)


def tree(figure):
    """The HTML as XML; the script holds & and <, which HTML leaves alone there."""
    return ElementTree.fromstring(re.sub(r"<script>.*?</script>", "<script/>", figure.html, flags=re.DOTALL))


def data(figure):
    return json.loads(next(s.text for s in tree(figure).iter("script") if s.get("type") == "application/json"))


def unpack(moves):
    """From moves in units of the drawing back to points."""
    (left, right), (bottom, top) = WINDOW
    x, y = np.array(moves).reshape(-1, 2).cumsum(0).T
    return np.stack([left + x / 500 * (right - left), top - y / 300 * (top - bottom)], 1)


def test_runs_in_the_page_are_those_given():
    """To half a unit of the drawing. Catches: axes swapped, y downwards, a key with another's path."""
    runs = data(shown())["runs"]
    given = paths()
    assert len(runs) == len(given)
    for (rule, rate, beta), path in given.items():
        index = [CHOICES["rule"].index(rule), CHOICES["rate"].index(rate)]
        index.append("" if beta is None else CHOICES["β"].index(beta))
        half = np.array([5 / 500, 2 / 300]) / 2 + 1e-6
        assert (np.abs(unpack(runs[",".join(map(str, index))][1]) - path.numpy()) <= half).all()


def test_first_choice_is_drawn_without_script():
    """Catches: an empty figure in print, and controls that do nothing without a script."""
    figure = shown()
    found = {node.get("class"): node for node in tree(figure).iter() if node.get("class")}
    said, moves = data(figure)["runs"]["1,0,1"]
    assert found["explorer-line"].get("d") == "m" + " ".join(map(str, moves))
    assert found["explorer-dots"].get("d").count("M") == 7
    assert found["explorer-dots"].get("d").endswith(found["explorer-end"].get("d"))
    assert found["explorer-text"].text == f"heavy, rate 0.1, β 0.9: loss {said}"
    assert repr(figure) == f"Two rules\nheavy, rate 0.1, β 0.9: loss {said}"
    assert found["explorer-controls"].get("hidden") is not None


def test_controls_are_native_and_named():
    # catches: a slider without a label or with other ends than its values; the wrong option chosen
    root = tree(shown(first=("plain", 1e-3, None)))
    menu, *sliders = next(node for node in root if node.get("class") == "explorer-controls")
    assert [option.text for option in menu.iter("option")] == CHOICES["rule"]
    assert [option.text for option in menu.iter("option") if option.get("selected") is not None] == ["plain"]
    assert [(label.text, label.find("input").get("max"), label.find("input").get("value")) for label in sliders] == [
        ("rate ", "1", "1"),
        ("β ", "1", "0"),
    ]
    assert data(shown())["used"] == [[True, True, False], [True, True, True]]


def test_a_screen_reader_is_told():
    root = tree(shown())
    (drawing,) = [svg for svg in root.iter("svg") if svg.get("role")]
    assert (drawing.get("role"), drawing.get("aria-label")) == ("img", "A path.")
    assert [node.get("class") for node in root.iter() if node.get("aria-live") == "polite"] == ["explorer-text"]


def test_everything_is_escaped():
    """Catches: a title that is read as markup, and a name that ends the script with the runs."""
    evil = "</script><b>\"&'"
    given = {(evil, *key[1:]): path for key, path in paths().items() if key[0] == "heavy"}
    choices = {evil + "1": [evil], evil + "2": CHOICES["rate"], evil + "3": CHOICES["β"]}
    words = {"title": evil, "measure": evil, "labels": (evil, evil), "alt": evil}
    figure = shown(choices=choices, paths=given, first=(evil, 0.1, 0.9), **words)
    assert "<b>" not in figure.html
    assert figure.html.count("</script>") == 2
    assert data(figure)["words"][0] == [evil]
    assert "".join(tree(figure).itertext()).count(evil) >= 5


def test_it_depends_on_nothing_outside():
    # catches: an address, and one name for two figures, of which the script would mend only the first
    one, two = shown().html, shown(title="Others").html
    assert not re.search(r"https?:|src=|href=|@import|url\(", one)
    names = [re.findall(r'data-explorer="(\w+)"', html) for html in (one, two)]
    assert names[0][0] == names[0][1] != names[1][0]
    assert shown().html == one


def test_a_path_that_diverges():
    """Catches: numbers of twenty digits in the page, and infinity, which JSON does not have."""
    given = paths()
    given["heavy", 0.1, 0.9] = [[(-3.0) ** min(n, 646)] * 2 for n in range(700)] + [[math.nan, math.inf]]
    given["heavy", 0.1, 0.5] = np.array([[0, 0], [math.inf, 1], [0, 0]])
    results = dict.fromkeys(given, 1.0) | {("heavy", 0.1, 0.9): math.inf}
    runs = data(shown(paths=given, results=results))["runs"]
    assert runs["1,0,1"][0] == "not finite; the path ends outside the picture"
    assert 4 <= len(runs["1,0,1"][1]) <= 16
    assert max(map(abs, runs["1,0,1"][1])) < 50 * 500
    assert runs["1,0,0"] == ["1", [200, 150]]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (0.1234, "0.12"),
        (-1234.5, "−1200"),
        (1.7e-4, "1.7\u00a0×\u00a010⁻⁴"),
        (math.nan, "not finite"),
        (2e21, "2.0\u00a0×\u00a010²¹"),
    ],
)
def test_numbers_are_readable(value, words):
    # catches: 1.2e+03
    given = {key: [[0, 0]] for key in paths()}
    assert repr(shown(paths=given, results=dict.fromkeys(given, value))).endswith(f"loss {words}")


@pytest.mark.parametrize(
    ("window", "x", "y"),
    [(WINDOW, "−2 −1 0 1 2 3", "−1 −0.5 0 0.5 1"), (((-9, 6), (0, 0.07)), "−5 0 5", "0 0.02 0.04 0.06")],
)
def test_ticks_are_round_and_where_they_say(window, x, y):
    across, up = tree(shown(window=window)).find("svg").findall("g")
    assert [" ".join(text.text for text in group) for group in (across, up)] == [x, y]
    zero = next(text for text in across if text.text == "0")
    low, high = window[0]
    assert float(zero.get("x")[:-1]) == pytest.approx(11 - 88 * low / (high - low), abs=0.06)


def without(key):
    return {k: path for k, path in paths().items() if k != key}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choices": {}}, "each control needs a value to choose"),
        ({"choices": CHOICES | {"rate": []}}, "each control needs a value to choose"),
        ({"choices": CHOICES | {"rule": ["plain", "heavy", "none"]}}, r"keys \(rule, rate, β\), got None for 'none'"),
        ({"choices": {"rule": ["plain", "heavy"]}}, r"keys \(rule\), got \('plain', 0.1, None\)"),
        ({"paths": without(("heavy", 0.1, 0.5))}, r"got none for \('heavy', 0.1, 0.5\): add it"),
        ({"paths": paths() | {("plain", 0.2, None): [[0, 0]]}}, r"\('plain', 0.2, None\), which no control reaches"),
        ({"results": {}}, "results needs a run for every choice"),
        ({"first": ("heavy", 0.1, None)}, r"must be a key of paths, got \('heavy', 0.1, None\)"),
        ({"window": ((1, 1), (0, 1))}, "from low to high, both finite, got 1 to 1"),
        ({"window": ((0, math.inf), (0, 1))}, "both finite"),
        ({"paths": paths() | {("heavy", 0.1, 0.5): [1, 2]}}, r"\('heavy', 0.1, 0.5\) must be \(n, 2\)"),
        ({"paths": paths() | {("heavy", 0.1, 0.5): np.zeros((0, 2))}}, "n ≥ 1"),
        ({"paths": paths() | {("heavy", 0.1, 0.5): [[math.nan, 0]]}}, "must start at finite numbers"),
        ({"contours": [[1, 2, 3]]}, "a contour must be"),
        ({"alt": " "}, "alt must say what the drawing shows"),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        shown(**changes)
