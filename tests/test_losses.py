import pytest
import torch
import torch.nn.functional as F

from course_lib.losses import SmoothedCrossEntropy, accuracy, binary_cross_entropy, cross_entropy, mean_squared_error
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


def test_cross_entropy_is_its_formula_and_leaves_out_no_label():
    # catches: torch's ignore_index, by which a label of −100 would vanish from the mean without a word
    z, y = logits(), labels()
    by_hand = (torch.exp(z).sum(1).log() - z[torch.arange(40), y]).mean()
    torch.testing.assert_close(cross_entropy(z, y), by_hand, rtol=1e-12, atol=1e-12)
    for label in (-100, -1, 5):
        y[3] = label
        with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
            cross_entropy(z, y)


@pytest.mark.parametrize("s", [0.0, 0.1, 0.9])
def test_smoothed_cross_entropy_agrees_with_torch(s):
    # catches: s/(K−1) on the other classes, the true class left out of the spread, a sum over classes
    z, y = logits(), labels()
    theirs = F.cross_entropy(z, y, label_smoothing=s)
    torch.testing.assert_close(SmoothedCrossEntropy(s)(z, y), theirs, rtol=1e-12, atol=1e-12)
    as_tensor = SmoothedCrossEntropy(torch.tensor(s, dtype=torch.float64))
    torch.testing.assert_close(as_tensor(z, y), theirs, rtol=1e-12, atol=1e-12)


def test_smoothing_of_each_run():
    # catches: a check that looks at a mapped tensor when it is called, a smoothing shared by all runs
    z, y = torch.stack([logits(), logits(1.0)]), torch.stack([labels(), labels()])
    both = [SmoothedCrossEntropy(s) for s in (0.1, 0.4)]

    def run(z, y, s):
        loss = object.__new__(SmoothedCrossEntropy)
        object.__setattr__(loss, "smoothing", s)
        return loss(z, y)

    stacked = torch.func.vmap(run)(z, y, torch.tensor([0.1, 0.4], dtype=torch.float64))
    alone = torch.stack([loss(z[i], y[i]) for i, loss in enumerate(both)])
    torch.testing.assert_close(stacked, alone, rtol=1e-12, atol=1e-12)


def test_bad_smoothing():
    for s in (-0.1, 1.0, float("nan"), torch.tensor([0.1, 1.0])):
        with pytest.raises(ValueError, match=r"smoothing must be in \[0, 1\)"):
            SmoothedCrossEntropy(s)


def test_large_logits_do_not_overflow():
    z = torch.tensor([[1e4, 0.0], [0.0, 1e4]])
    assert torch.isfinite(SmoothedCrossEntropy(0.1)(z, torch.tensor([1, 1])))
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


@pytest.mark.parametrize("measure", [cross_entropy, accuracy, SmoothedCrossEntropy(0.1)])
def test_time_steps_count_as_samples(measure):
    # catches: the classes looked for on the axis of time, as torch's own (N, K, T) has them
    z, y = logits().reshape(8, 5, 5), labels().reshape(8, 5)
    torch.testing.assert_close(measure(z, y), measure(logits(), labels()), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match=r"needs logits .* got \(8, 5, 5\) and \(40,\)"):
        measure(z, labels())


@pytest.mark.parametrize("measure", [cross_entropy, accuracy, SmoothedCrossEntropy()])
def test_labels_of_another_type_are_refused_by_name(measure):
    # catches: labels read as float from a file, which accuracy compares without a word
    name = getattr(measure, "__name__", type(measure).__name__)
    for wrong in (labels().float(), labels().int()):
        with pytest.raises(ValueError, match=rf"{name} needs int64 labels.*use labels.long"):
            measure(logits(), wrong)
    with pytest.raises(ValueError, match=rf"{name} needs logits"):
        measure(logits(), logits())
