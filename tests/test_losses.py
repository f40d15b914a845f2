import pytest
import torch
import torch.nn.functional as F

from course_lib.losses import accuracy, binary_cross_entropy, cross_entropy, mean_squared_error
from course_lib.rng import generator


def logits(scale=3.0):
    return scale * torch.randn(40, 5, generator=generator(0), dtype=torch.float64)


def labels():
    return torch.randint(5, (40,), generator=generator(1))


def test_losses_agree_with_torch():
    # catches: a sum in place of the mean; probabilities in place of logits
    z, y = logits(), labels()
    p = torch.rand(40, 5, generator=generator(2), dtype=torch.float64)
    for ours, theirs in [
        (cross_entropy(z, y), F.cross_entropy(z, y)),
        (binary_cross_entropy(z, p), F.binary_cross_entropy_with_logits(z, p)),
        (mean_squared_error(z, p), F.mse_loss(z, p)),
    ]:
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_large_logits_do_not_overflow():
    z = torch.tensor([[1e4, 0.0], [0.0, 1e4]])
    assert torch.isfinite(cross_entropy(z, torch.tensor([1, 1])))
    assert torch.isfinite(binary_cross_entropy(z, torch.ones(2, 2)))


def test_accuracy_counts():
    # catches: the smallest logit for the largest, a count for a share
    z = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.5], [5.0, 1.0, 2.0], [1.0, 3.0, 2.0]])
    assert accuracy(z, torch.tensor([0, 1, 0, 2])) == 0.75


@pytest.mark.parametrize(
    ("loss", "a", "b"),
    [
        (cross_entropy, torch.zeros(4, 3), torch.zeros(5, dtype=torch.int64)),
        (mean_squared_error, torch.zeros(4, 1), torch.zeros(4)),
        (binary_cross_entropy, torch.zeros(4, 1), torch.zeros(4)),
    ],
)
def test_shapes_that_would_broadcast_are_refused(loss, a, b):
    with pytest.raises(ValueError, match="got"):
        loss(a, b)


@pytest.mark.parametrize("measure", [cross_entropy, accuracy])
def test_labels_of_another_type_are_refused_by_name(measure):
    # catches: labels read as float from a file, which accuracy compares without a word
    for wrong in (labels().float(), labels().int()):
        with pytest.raises(ValueError, match=rf"{measure.__name__} needs int64 labels.*use labels.long"):
            measure(logits(), wrong)
    with pytest.raises(ValueError, match=rf"{measure.__name__} needs logits"):
        measure(logits(), logits())
