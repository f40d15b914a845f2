"""The typed data set, `load`, the tables and the two-dimensional toys."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn import datasets as reference

from course_lib.data import Dataset, load, names

OFFLINE = [name for name in names() if name not in ("mnist", "fashion_mnist", "cifar10")]


def small(**changes):
    values = {
        "x": torch.arange(6.0).reshape(3, 2),
        "y": torch.tensor([0, 1, 1]),
        "name": "small",
        "class_names": ("a", "b"),
    }
    return Dataset(**(values | changes))


@pytest.mark.parametrize("name", OFFLINE)
def test_every_offline_set_loads_and_says_where_it_is_from(name):
    # catches a registry entry that names a function that is not there, and a set without its source
    data = load(name)
    assert (data.name, data.n, data.n_classes) == (name, len(data.x), len(data.class_names))
    assert data.x.dtype == torch.float32
    assert data.y.dtype == torch.int64
    assert data.description
    assert data.source
    assert data.licence
    text = repr(data)
    assert 3 < len(text.splitlines()) < 10
    assert all(len(line) < 140 for line in text.splitlines())
    assert str(data.n) in text


@pytest.mark.parametrize(
    "name", ["moons", "circles", "spirals", "blobs", "xor", "mnist1d", "copy_task", "shapes", "arrows"]
)
def test_a_seed_gives_the_same_set_and_another_seed_another(name):
    # catches a draw from a global generator, and a seed that is not used
    torch.manual_seed(0)
    a = load(name, n=80, seed=1)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global generator must not matter
    b, c = load(name, n=80, seed=1), load(name, n=80, seed=2)
    assert torch.equal(a.x, b.x)
    assert torch.equal(a.y, b.y)
    assert not torch.equal(a.x, c.x)


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine"])
def test_tables_are_scikit_learns(name):
    # catches scaled features, a changed order of samples, and class names in another order than the labels
    bunch, data = getattr(reference, f"load_{name}")(), load(name)
    np.testing.assert_array_equal(data.x, bunch.data.astype(np.float32))
    np.testing.assert_array_equal(data.y, bunch.target)
    assert data.class_names == tuple(str(c) for c in bunch.target_names)
    assert len(data.feature_names) == data.x.shape[1]


def test_digits_as_images_are_upright():
    images = load("digits", images=True).x
    np.testing.assert_array_equal(images[:, 0], reference.load_digits().images.astype(np.float32))


@pytest.mark.parametrize("n", [2, 7, 500])
def test_moons_and_circles_are_scikit_learns_without_noise(n):
    # catches a wrong radius, offset or half circle, and an inner circle whose last point repeats its first
    moons, _ = reference.make_moons(n // 2 * 2, shuffle=False)
    circles, _ = reference.make_circles(n // 2 * 2, shuffle=False, factor=0.5)
    for name, points in (("moons", moons), ("circles", circles)):
        data = load(name, n=n // 2 * 2, noise=0)
        ours = np.concatenate([data.x[data.y == c].numpy() for c in (0, 1)])
        np.testing.assert_allclose(_sorted(ours), _sorted(points), atol=1e-6)


def _sorted(points):
    points = np.round(np.asarray(points, dtype=np.float64), 5) + 0.0
    return points[np.lexsort(points.T)]


def test_toys_have_the_geometry_that_they_say():
    # catches a label that does not belong to its formula
    xor = load("xor", noise=0)
    assert torch.equal(xor.y, (xor.x.prod(1) < 0).long())
    spirals = load("spirals", noise=0, arms=3, turns=1.0)
    radius, angle = spirals.x.norm(dim=1), torch.atan2(spirals.x[:, 1], spirals.x[:, 0])
    arm = torch.remainder(angle / (2 * torch.pi) - radius, 1.0) * 3
    assert torch.equal(arm.round().long() % 3, spirals.y)
    blobs = load("blobs", n=30_000, noise=0.5, classes=2)
    mean, std = blobs.x[blobs.y == 1].mean(0), blobs.x[blobs.y == 1].std(0)
    # 15,000 normal draws: 0.025 is 6 standard errors of the mean and 8 of the deviation; chance below 1e-8
    torch.testing.assert_close(mean, torch.tensor([-1.0, 0.0]), atol=0.025, rtol=0)
    torch.testing.assert_close(std, torch.tensor([0.5, 0.5]), atol=0.025, rtol=0)


@pytest.mark.parametrize(("name", "k"), [("moons", 2), ("spirals", 4), ("blobs", 3)])
def test_class_sizes_differ_by_at_most_one(name, k):
    options = {"spirals": {"arms": 4}}.get(name, {})
    counts = load(name, n=103, **options).y.bincount()
    assert len(counts) == k
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: load("minst"), "'minst': did you mean 'mnist'"),
        (lambda: load("MNIST-1D"), "did you mean 'mnist1d'"),
        (lambda: load("digits", "test"), "split of digits 'test'.*Known: all"),
        (lambda: load("mnist1d", "tset"), "did you mean 'test'"),
        (lambda: load("moons", nosie=0.1), "did you mean 'noise'"),
        (lambda: load("digits", seed=1), "takes no seed, got seed=1"),
        (lambda: load("moons", n=1), "got n=1"),
        (lambda: load("moons", noise=-1), "at least 0, got -1"),
        (lambda: load("circles", factor=1), r"in \(0, 1\), got 1"),
        (lambda: load("spirals", arms=1), "got 1"),
        (lambda: load("blobs", classes=1), "got 1"),
        (lambda: load("mnist1d", n=12), "multiple of 10.*got 12"),
        (lambda: load("mnist1d", max_translation=0), "got 0"),
        (lambda: load("mnist1d", padding=(5, 2)), "got \\(5, 2\\)"),
        (lambda: load("mnist1d", train_split=1.0), "got 1.0"),
        (lambda: load("mnist1d", final_seq_length=1), "got 1"),
        (lambda: small(y=torch.tensor([0, 1])), r"one target for each sample.*\(3, 2\).*\(2,\)"),
        (lambda: small(x=torch.empty(0, 2), y=torch.empty(0).long()), "at least one sample"),
        (lambda: small(x=torch.tensor([[0, 1.0], [0, torch.nan], [0, torch.inf]])), "2 NaN.*in sample 1"),
        (lambda: small(y=torch.tensor([0, 1, 2])), "0 … 1.*got 0 … 2"),
        (lambda: small(y=torch.tensor([-1, 1, 0])), "got -1 … 1"),
        (lambda: small(y=torch.tensor([0, 0, 0])), "none of: b"),
        (lambda: small(class_names=(), y=torch.tensor([0, torch.nan, 0])), "y must be finite"),
        (lambda: small(feature_names=("one",)), "1 feature names"),
        (lambda: small(factors={"size": torch.zeros(2)}), "'size' has 2 rows for 3"),
        (lambda: small().subset([]), "non-empty"),
        (lambda: small().subset([0]), "none of: b"),
        (lambda: small().subset(torch.tensor([True, True, False])), "mask.nonzero"),
    ],
)
def test_bad_input_names_the_rule_the_value_and_the_remedy(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_wrong_types_are_refused():
    with pytest.raises(TypeError, match=r"float32, got torch\.float64"):
        small(x=torch.zeros(3, 2, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"int64, got torch\.float32"):
        small(y=torch.zeros(3))
    with pytest.raises(TypeError, match="pass class_names"):
        small(class_names=())
    with pytest.raises(TypeError, match="ndarray"):
        small(x=np.zeros((3, 2), dtype=np.float32))
    with pytest.raises(IndexError, match=r"0 … 2, got -1 … 1"):
        small().subset([-1, 1])


def test_subset_keeps_rows_together():
    # catches labels or factors that stay behind when the inputs are selected
    data = load("shapes", n=64)
    part = data.subset([5, 3, 60, 5], every_class=False)
    assert torch.equal(part.x, data.x[[5, 3, 60, 5]])
    assert torch.equal(part.y, data.y[[5, 3, 60, 5]])
    assert torch.equal(part.factors["size"], data.factors["size"][[5, 3, 60, 5]])
    assert part.class_names == data.class_names
    assert torch.equal(part.to("cpu").factors["size"], part.factors["size"])


def test_regression_targets():
    data = small(class_names=(), y=torch.tensor([0.5, 1.5, -2]))
    assert data.n_classes == 0
    assert "from -2 to 1.5" in repr(data)


def test_importing_the_package_leaves_the_network_client_alone():
    # catches an import of scikit-learn, which is slow, from a module that training needs
    code = "import sys, course_lib.data; print('sklearn' in sys.modules, 'matplotlib' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False False\n"
    )


@pytest.mark.gpu
def test_to_moves_every_tensor():
    data = load("shapes", n=64).to("cuda")
    assert {t.device.type for t in (data.x, data.y, *data.factors.values())} == {"cuda"}
    assert data.subset(torch.arange(40), every_class=False).x.device.type == "cuda"
