"""Cards: what a declaration and a verdict show, as text and as HTML that is safe, complete and true to scale."""

import json
import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from test_claims import TUNED, claim, frame, judged

from course_lib import cards


def test_a_declaration_shows_itself():
    # catches: a design that a reader cannot read before the run
    here = claim(**TUNED, conditions={"depth": (5, 20)}, diverged=2.3, exploratory=True)
    for shown in (repr(here), here._repr_html_()):
        words = [
            "he-for-relu",
            "lecture A",
            "is better.",
            "digits, tanh MLP",
            "0.02 nats",
            "4 to 19 (16)",
            "exploratory",
        ]
        words += [
            "depth: 5, 20",
            "lr in 0.01, 0.1: the lowest mean val_loss over seeds 0 to 3 (4)",
            "2.3 nats",
            here.hash,
        ]
        assert [word for word in words if word not in shown] == []
    assert "val_loss: he < xavier (scheme)" in repr(here)
    assert "he > xavier" in repr(claim(direction="more"))
    assert "he = xavier" in repr(claim(direction="same"))


def parsed(html):
    return ElementTree.fromstring(html)


def words(html):
    return " ".join("".join(parsed(html).itertext()).split())


def test_text_of_a_verdict():
    text = repr(judged(**TUNED))
    assert text.startswith("he-for-relu: holds\nHe's is better. (lecture A)\n  he less than xavier: 0.0")
    for part in (
        "nats [0.",
        "95 % interval over 16 seeds",
        "the smallest effect worth having.",
        "lr 0.01 for he; lr 0.01",
    ):
        assert part in text
    assert "told from zero with probability" in text
    assert "Note: chosen at the end of the grid, so a wider one may suit better: lr of he; lr of xavier." in text


def test_card():
    """Catches: a part that is missing, and a plot that a screen reader cannot name."""
    result = judged(**TUNED)
    html = result._repr_html_()
    said = words(html)
    for part in (
        "Holds",
        "he-for-relu",
        "lecture A",
        "He's is better.",
        "he less than xavier",
        "16 seeds",
        "95 % interval",
    ):
        assert part in said
    assert "lr 0.01 for he" in said
    assert "chosen at the end of the grid" in said
    assert result.claim.hash in said
    assert "told from zero with probability" in said
    assert parsed(html).get("class") == "claim-card verdict-holds"
    (plot,) = parsed(html).iter("svg")
    assert plot.get("role") == "img"
    assert plot.get("aria-label") == f"he less than xavier: {cards.effect(json.loads(result.record))}"
    assert len(html) < 4000


def test_the_plot_is_true():
    """Catches: positions off the scale, bounds swapped, dots of another arm. Positions are linear in the effect."""
    result = judged((0, 0.1), noise=0.1)
    (plot,) = parsed(result._repr_html_()).iter("svg")
    zero, bar = plot.findall("line")
    (row,) = result.comparisons
    band = plot.find("rect")
    at = {
        0.0: per_cent(zero.get("x1")),
        row.effect.low: per_cent(bar.get("x1")),
        row.effect.high: per_cent(bar.get("x2")),
    }
    at[row.effect.estimate] = per_cent(plot.find("circle").get("cx"))
    at |= dict(zip(row.differences.values(), [per_cent(c.get("cx")) for c in plot.find("g")], strict=True))
    at[0.02] = per_cent(band.get("x")) + per_cent(band.get("width"))
    values, positions = np.array(list(at)), np.array(list(at.values()))
    slope, start = np.polyfit(values, positions, 1)
    assert slope > 0
    np.testing.assert_allclose(start + slope * values, positions, atol=0.15)
    assert 0 <= positions.min() < 5
    assert 95 < positions.max() <= 100
    assert per_cent(band.get("x")) == at[0.0] == per_cent(zero.get("x2"))


def per_cent(text):
    return float(text.removesuffix("%"))


def test_the_plot_of_a_claim_of_no_difference():
    (plot,) = parsed(judged((0, 0), direction="same")._repr_html_()).iter("svg")
    zero, band = plot.find("line"), plot.find("rect")
    middle = per_cent(band.get("x")) + per_cent(band.get("width")) / 2
    assert middle == pytest.approx(per_cent(zero.get("x1")), abs=0.15)


def test_a_card_of_many_comparisons():
    here = claim(arms=("a", "b", "c"), conditions={"depth": (5, 20)}, diverged=3.0)
    runs = frame(here.design, (0, 0.1, 0.2))
    runs["diverged_at"] = np.where((runs.depth == 20) & (runs.scheme == "c") & (runs.seed == 5), 3.0, math.nan)
    html = here.judge(runs)._repr_html_()
    said = words(html)
    assert len(list(parsed(html).iter("svg"))) == 4
    assert "depth 20, b less than c" in said
    assert "Of 4 comparisons: " in said
    assert "98.75 % interval (95 % for all together)" in said
    assert "Note: diverged, of 16 runs: 1 of c, depth 20." in said


def test_each_of_two_comparisons_has_its_verdict():
    two = words(judged((0, 0.1, 0.12), arms=("a", "b", "c"))._repr_html_())
    assert "], holds" in two
    assert "], undecided" in two
    assert "], holds" not in words(judged()._repr_html_())  # where the head says it


def test_arms_that_are_numbers_go_with_their_name():
    """Catches: "2.0 less than 1.0", which says nothing."""
    here = claim(axis="gain", arms=(2.0, True), **TUNED)
    runs = frame(here.design)
    runs["gain"] = runs["gain"].astype(object)
    text = repr(here.judge(runs))
    for part in ("val_loss: gain 2.0 < gain True (gain)", "gain 2.0 less than gain True: 0", "lr 0.01 for gain 2.0;"):
        assert part in text
    assert "lr of gain 2.0; lr of gain True." in text


def test_everything_is_escaped():
    """Catches: a sentence that is read as markup, or one that ends an attribute."""
    evil = "<script>\"&'</b>"
    here = claim(
        sentence=evil, source=evil, task=evil, unit=evil, measure=evil, axis=evil + "x", arms=(evil, evil + "2")
    )
    for html in (here._repr_html_(), here.judge(frame(here.design))._repr_html_()):
        assert "<script" not in html
        assert evil in "".join(parsed(html).itertext())


@pytest.mark.parametrize(
    ("effect", "low", "high", "shown"),
    [
        (0.05474, 0.02676, 0.08273, "0.055 nats [0.027, 0.083]"),
        (-12.34, -24.4, -0.3, "−12 nats [−24, 0]"),
        (0.5, 0.5, 0.5, "0.5 nats [0.5, 0.5]"),
        (0.1, -0.4, 0.6, "0.1 nats [−0.4, 0.6]"),
        (2e-5, 5e-6, 3.5e-5, "0.000020 nats [0.000005, 0.000035]"),
        (2e-6, 5e-7, 3.5e-6, "2e−06 nats [5e−07, 3.5e−06]"),
        (1234567, 1e6, 1.5e6, "1.23e+06 nats [1e+06, 1.5e+06]"),
        (2e-9, 1e-9, 3e-9, "2e-09 nats [1e-09, 3e-09]".replace("e-", "e−")),
    ],
)
def test_numbers_are_readable(effect, low, high, shown):
    """Two digits of the interval's width and a true minus sign. Catches: digits that are noise; −0."""
    row = {"measured": {"effect": effect, "interval": [low, high]}}
    assert cards.effect({"comparisons": [row], "declaration": {"design": {"unit": "nats"}}}) == shown
    bare = cards.effect({"comparisons": [row], "declaration": {"design": {"unit": ""}}})
    assert bare == shown.replace(" nats", "")


def test_the_range_of_many_effects():
    rows = [{"measured": {"effect": effect, "interval": [0, 1]}} for effect in (0.25, -0.125, 0.5)]
    shown = cards.effect({"comparisons": rows, "declaration": {"design": {"unit": "nats"}}})
    assert shown == "−0.12 to 0.5 nats in 3 comparisons"


@pytest.mark.parametrize(
    ("seeds", "shown"),
    [([4, 5, 6], "4 to 6 (3)"), ([1, 3, 5], "1, 3, 5 (3)"), ([3, 2, 1], "3, 2, 1 (3)"), ([1, 2], "1, 2 (2)")],
)
def test_seeds(seeds, shown):
    here = claim(seeds=seeds, exploratory=True)
    assert f"Seeds: {shown}, exploratory" in repr(here)
