"""Mean subtraction, standardisation, whitening: parity with scikit-learn, round trips, errors."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from course_lib.data import MeanSubtraction, Standardizer, Whitener, load
from course_lib.rng import generator


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


@pytest.mark.parametrize("name", ["breast_cancer", "wine"])
def test_standardizer_is_scikit_learns(name):
    # catches the divisor n − 1, and a scale that is the variance
    x = load(name).x.double()
    train, test = x[::2], x[1::2]
    reference = StandardScaler().fit(train.numpy())
    ours = Standardizer.fit(train)
    np.testing.assert_allclose(ours.mean, reference.mean_, rtol=1e-12)
    np.testing.assert_allclose(ours.scale, reference.scale_, rtol=1e-12)
    np.testing.assert_allclose(ours(test), reference.transform(test.numpy()), atol=1e-12, rtol=1e-12)
    np.testing.assert_allclose(ours.inverse(ours(test)), test, rtol=1e-12, atol=1e-12)


def test_per_channel_statistics_are_those_of_all_pixels():
    # catches statistics of each pixel where each channel is meant, and images of another size refused
    x = normal(6, 3, 5, 4) * torch.tensor([1.0, 2, 3]).double()[:, None, None] + 7
    ours = Standardizer.fit(x, dims=(0, 2, 3))
    assert ours.mean.shape == ours.scale.shape == (3, 1, 1)
    flat = x.transpose(0, 1).reshape(3, -1).T.numpy()
    expected = StandardScaler().fit_transform(flat).T.reshape(3, 6, 5, 4).transpose(1, 0, 2, 3)
    np.testing.assert_allclose(ours(x), expected, atol=1e-12)
    assert ours(normal(2, 3, 9, 9)).shape == (2, 3, 9, 9)
    torch.testing.assert_close(MeanSubtraction.fit(x, dims=(0, 2, 3)).mean, ours.mean)
    assert MeanSubtraction.fit(x).mean.shape == (3, 5, 4)


@pytest.mark.parametrize("name", ["wine", "iris-like"])
def test_pca_whitening_is_scikit_learns(name):
    # catches the divisor n, a missing square root, and components in rising order of variance
    x = load("wine").x.double() if name == "wine" else normal(200, 4) @ normal(4, 4, seed=1)
    x = Standardizer.fit(x)(x)
    expected = PCA(whiten=True).fit(x.numpy()).transform(x.numpy())
    ours = Whitener.fit(x)
    np.testing.assert_allclose(ours(x), expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["pca", "zca"])
def test_whitened_data_have_the_identity_as_covariance(kind):
    x = normal(300, 3, 2, 2) * torch.arange(1.0, 13).double().reshape(3, 2, 2) + 5
    white = Whitener.fit(x, kind)
    z = white(x)
    assert z.shape == x.shape
    torch.testing.assert_close(torch.cov(z.flatten(1).T), torch.eye(12).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(white.inverse(z), x, atol=1e-12, rtol=1e-12)


def test_zca_is_symmetric_and_eps_shrinks():
    # catches zca as pca turned by some other rotation, and eps added to the root
    x = normal(300, 4) * torch.tensor([3.0, 2, 1, 0.1]).double()
    zca = Whitener.fit(x, "zca")
    torch.testing.assert_close(zca.matrix, zca.matrix.T, atol=1e-12, rtol=1e-12)
    z = Whitener.fit(x, "pca", eps=0.5)(x)
    variance = torch.linalg.eigvalsh(torch.cov(x.T)).flip(0)
    torch.testing.assert_close(z.var(0), variance / (variance + 0.5), atol=1e-12, rtol=1e-12)


@given(
    lead=st.lists(st.integers(1, 4), max_size=2),
    seed=st.integers(0, 99),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    shift=st.floats(-100, 100),
)
def test_round_trips_for_any_leading_axes_and_type(lead, seed, dtype, shift):
    # catches a dtype that changes on the way, and statistics that do not broadcast
    train = normal(50, 3, 2, seed=seed, dtype=dtype) + shift
    x = normal(*lead, 3, 2, seed=seed + 1, dtype=dtype) + shift
    tolerance = {torch.float32: 1e-3, torch.float64: 1e-11}[dtype]
    for rule in (
        MeanSubtraction.fit(train),
        Standardizer.fit(train),
        Standardizer.fit(train, dims=(0, 2)),
        Whitener.fit(train, "zca"),
    ):
        kept = x.clone()
        z = rule(x)
        assert z.dtype == dtype
        assert z.shape == x.shape
        torch.testing.assert_close(rule.inverse(z), x, atol=tolerance, rtol=0)
        assert torch.equal(x, kept)


def test_a_stack_of_runs_is_one_set_of_samples():
    x = normal(5, 20, 3)
    torch.testing.assert_close(Standardizer.fit(x, dims=(0, 1)).scale, Standardizer.fit(x.reshape(100, 3)).scale)


def test_float32_far_from_zero_keeps_its_digits():
    # catches E[x²] − E[x]², and sums in float32: both lose the deviation of 1 beside a mean of 10⁵
    x = (normal(20_000, 2) + 1e5).float()
    expected = x.double().std(0, correction=0).float()
    torch.testing.assert_close(Standardizer.fit(x).scale, expected, rtol=1e-6, atol=0)


def test_constant_features():
    # catches a division by zero that becomes NaN, and a test for constancy that rounding defeats (0.1 · n)
    x = load("digits").x
    with pytest.raises(ValueError, match=r'3 constant of 64: 0, 32, 39\. Drop them, or pass constant="keep"'):
        Standardizer.fit(x)
    with pytest.raises(ValueError, match="pixel_0_0, pixel_4_0, pixel_4_7"):
        Standardizer.fit(x, names=load("digits").feature_names)
    rule = Standardizer.fit(x, constant="keep")
    assert (rule(x)[:, [0, 32, 39]] == 0).all()
    torch.testing.assert_close(rule.inverse(rule(x)), x, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="1 constant of 2: 1"):
        Standardizer.fit(torch.stack([torch.arange(7.0), torch.full((7,), 0.1)], 1))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: Standardizer.fit(x.index_fill(0, torch.tensor([3]), torch.nan)), "finite, got 3 NaN.*sample 3"),
        (lambda x: Whitener.fit(x / 0), "finite"),
        (lambda x: MeanSubtraction.fit(x[:0]), "N at least 1"),
        (lambda x: MeanSubtraction.fit(x, dims=1), "must hold 0"),
        (lambda x: MeanSubtraction.fit(x, dims=(0, 2)), "axes of x"),
        (lambda x: Standardizer.fit(x, constant="drop"), "got 'drop'"),
        (lambda x: Standardizer.fit(x)(x[:, :1]), r"fitted, \(3,\).*got shape \(20, 1\)"),
        (lambda x: MeanSubtraction.fit(x).inverse(x.T), r"got shape \(3, 20\)"),
        (lambda x: Whitener.fit(x)(x[0, 0]), r"got shape \(\)"),
        (lambda x: Whitener.fit(x, "pcs"), "got 'pcs'"),
        (lambda x: Whitener.fit(x, eps=-1), "got -1"),
        (lambda x: Whitener.fit(x[:1]), "2 samples or more, got 1"),
        (lambda x: Whitener.fit(torch.cat([x, x], 1)), "3 of 6 directions without variance: pass eps"),
        (lambda x: Whitener.fit(x * 0), "3 of 3 directions"),
    ],
)
def test_bad_input_names_the_rule_the_value_and_the_remedy(call, says):
    with pytest.raises(ValueError, match=says):
        call(normal(20, 3))


def test_types_are_not_mixed():
    with pytest.raises(TypeError, match=r"got torch\.int64"):
        Standardizer.fit(torch.ones(3, 2).long())
    with pytest.raises(TypeError, match=r"fitted on torch\.float64, got x of torch\.float32"):
        Standardizer.fit(normal(9, 2))(torch.zeros(2))


@pytest.mark.gpu
def test_the_device_is_kept():
    x = normal(50, 3).cuda()
    for rule in (MeanSubtraction.fit(x), Standardizer.fit(x), Whitener.fit(x)):
        assert rule.inverse(rule(x)).device == x.device


def test_a_constant_feature_is_named_only_by_names_that_fit():
    # catches: an IndexError inside the error's own message
    x = torch.tensor([[1.0, 5.0, 2.0], [2.0, 5.0, 3.0]])
    with pytest.raises(ValueError, match="got 1 constant of 3: 1"):
        Standardizer.fit(x, names=("a",))
