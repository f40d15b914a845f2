"""Bias and variance: the identity, the closed form of least squares, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.bias_variance import bias_variance
from course_lib.rng import generator

DOUBLE = {"dtype": torch.float64}


def normal(seed, *shape):
    return torch.randn(*shape, generator=generator(seed, "bias_variance"), **DOUBLE)


@given(st.integers(0, 1000), st.integers(2, 6), st.integers(1, 5), st.floats(0, 4))
def test_the_parts_add_up_on_any_sample(seed, models, places, noise):
    # catches: the correction left out of one of the two parts, or with the wrong divisor
    predictions, truth = normal(seed, models, places), normal(seed + 1, places)
    parts = bias_variance(predictions, truth, noise)
    error = ((predictions - truth) ** 2).mean().item() + noise
    assert parts.error == pytest.approx(error, rel=1e-12)
    assert parts.noise == noise


def test_by_hand():
    # catches: a bias that keeps the variance of the mean; bias for bias²; the root of the variance
    parts = bias_variance([[1.0, 4.0], [3.0, 4.0]], [0.0, 6.0], 0.25)
    # place 1: mean 2, variance 2, bias² 4 − 2/2;   place 2: mean 4, variance 0, bias² 4
    assert parts == (3.5, 1.0, 0.25)
    assert parts.error == 4.75


@given(st.integers(0, 100), st.floats(-1e6, 1e6))
def test_moving_truth_and_predictions_together_changes_nothing(seed, offset):
    # catches: a mean of squares minus the square of a mean, which cancels for large offsets
    predictions, truth = normal(seed, 4, 3), normal(seed + 1, 3)
    moved = bias_variance(predictions + offset, truth + offset)
    np.testing.assert_allclose(moved, bias_variance(predictions, truth), atol=1e-8)


def test_least_squares_at_its_own_inputs():
    # catches: an estimate that is off by a factor such as (R − 1)/R or 1/n. The closed form: with p weights the
    # variance is σ²p/n on average over the inputs, and bias² is what the best fit to f leaves.
    # Both estimates are within 6 standard errors but for one draw in 10⁸; the draw is the same each time.
    n, p, sets, sigma = 20, 4, 2000, 0.5
    phi = normal(0, n, p)
    truth = normal(1, n)
    hat = phi @ torch.linalg.pinv(phi)
    predictions = (truth + sigma * normal(2, sets, n)) @ hat.T
    parts = bias_variance(predictions, truth, sigma**2)
    # Σ over places of the sample variance is σ²χ²/(R − 1) with p(R − 1) degrees: relative error √(2/(pR))
    assert parts.variance == pytest.approx(sigma**2 * p / n, rel=6 * (2 / (p * sets)) ** 0.5)
    left = ((truth - hat @ truth) ** 2).mean().item()
    assert parts.bias2 == pytest.approx(left, abs=6 * 2**0.5 * parts.variance / sets / p**0.5)


def test_the_estimate_of_bias_is_unbiased_with_few_models():
    # catches: (f̄ − f)² without the correction, which here would be 1/3 too large.
    # Mean of 20,000 estimates, each of variance 2/9 + …: below 6 standard errors but for one draw in 10⁸.
    rounds, models = 20_000, 3
    draws = normal(3, models, rounds)  # truth 0, no bias, variance 1: one place a round
    parts = bias_variance(draws, torch.zeros(rounds))
    sd = (2 / (models * (models - 1))) ** 0.5  # of x̄² − s²/R for standard normal draws
    assert abs(parts.bias2) < 6 * sd / rounds**0.5
    assert abs(parts.variance - 1) < 6 * (2 / (models - 1) / rounds) ** 0.5


def test_tensors_arrays_and_more_axes():
    # catches: an average over models in place of places; float32 sums; a graph kept alive
    predictions, truth = normal(4, 5, 2, 3), normal(5, 2, 3)
    flat = bias_variance(predictions.reshape(5, 6), truth.reshape(6))
    assert bias_variance(predictions.numpy(), truth.numpy()) == pytest.approx(flat, rel=1e-12)
    single = bias_variance(predictions.float().requires_grad_(), truth)
    assert single == pytest.approx(flat, rel=1e-5)


@pytest.mark.parametrize(
    ("predictions", "noiseless", "noise", "says"),
    [
        ([[1.0, 2.0]], [1.0, 2.0], 0, "at least 2 models"),
        (1.0, 1.0, 0, "at least 2 models"),
        ([[1.0], [2.0]], [1.0, 2.0], 0, r"\(2, 1\) and \(2,\)"),  # would broadcast
        ([[1.0, 2.0], [1.0, 2.0]], 1.0, 0, r"\(2, 2\) and \(\)"),
        (np.zeros((2, 0)), np.zeros(0), 0, "at least one place"),
        ([[1.0], [float("nan")]], [1.0], 0, "finite"),
        ([[1.0], [2.0]], [float("inf")], 0, "finite"),
        ([[1.0], [2.0]], [1.0], -1, "noise must be ≥ 0"),
        ([[1.0], [2.0]], [1.0], float("nan"), "noise must be ≥ 0"),
    ],
)
def test_what_has_no_parts(predictions, noiseless, noise, says):
    with pytest.raises(ValueError, match=says):
        bias_variance(predictions, noiseless, noise)
