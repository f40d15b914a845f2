"""The real image files, in the folder that COURSE_DATA names. Marked `data`; skipped without it."""

import os
from pathlib import Path

import pytest
import torch

from course_lib.data import files, load

pytestmark = pytest.mark.data


def the(name):
    path = Path(os.environ["COURSE_DATA"]) / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"COURSE_DATA has no {path.name}")
    return path


@pytest.mark.parametrize(
    ("name", "shape"), [("mnist", (1, 28, 28)), ("fashion_mnist", (1, 28, 28)), ("cifar10", (3, 32, 32))]
)
def test_counts_shapes_and_classes(name, shape):
    # catches training images among the test images, and labels beside the wrong images' count
    the(name)
    for split, counts in zip(("train", "test"), files.IMAGES[name].counts, strict=True):
        data = load(name, split)
        assert data.x.shape == (sum(counts), *shape)
        assert tuple(data.y.bincount().tolist()) == counts
        assert data.x.min() == 0
        assert data.x.max() == 1


def test_mnist_has_the_known_checksums():
    # catches a checksum of something else than the arrays that a correct download holds
    arrays = files.read(the("mnist"), files.IMAGES["mnist"], ("train", "test"))
    assert {k: files.sha256_of(v) for k, v in arrays.items()} == dict(files.IMAGES["mnist"].sha256)


def test_mnist_images_belong_to_their_labels():
    # catches a shuffle of one without the other: means of the classes tell 4 of 5 digits apart (chance 1 of 10)
    the("mnist")
    train, test = load("mnist", "train"), load("mnist", "test")
    means = torch.stack([train.x[train.y == c].mean(0).flatten() for c in range(10)])
    guess = torch.cdist(test.x.flatten(1), means).argmin(1)
    assert 0.80 < (guess == test.y).float().mean() < 0.84
