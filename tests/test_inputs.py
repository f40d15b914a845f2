"""What does not fit is said before the first update, in words, and leaves the model as it was."""

import pytest
import torch
from torch import nn

from course_lib.losses import cross_entropy, mean_squared_error
from course_lib.models import MLP
from course_lib.normalization import BatchNorm, BatchRenorm, LayerNorm
from course_lib.optimizers import SGD, Adam
from course_lib.rng import generator
from course_lib.training import fit

X = torch.randn(50, 6, generator=generator(0, "x"))
Y = torch.randint(3, (50,), generator=generator(0, "y"))


def with_nan(t):
    t = t.clone()
    t[7, 2] = float("nan")
    return t


def foreign():
    return torch.optim.SGD(MLP((6, 3), generator=generator(1)).parameters(), 0.1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        # settings
        ({"batch_size": 51}, "at most the number of samples, 50, got 51"),
        ({"batch_size": 0}, "batch_size"),
        ({"epochs": 0}, "epochs"),
        ({"restore_best": True}, "val_data"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"optimizer": "adam"}, "must be a rule"),
        ({"optimizer": Adam}, "must be a rule"),  # the class, not a rule
        ({"optimizer": foreign()}, r"make it from model.parameters\(\)"),
        ({"generator": 3}, r"torch.Generator, got 3: pass course_lib.rng.generator"),
        ({"generator": None}, r"torch.Generator, got None"),
        ({"callbacks": print}, "not iterable"),
        ({"loss": lambda out, y: (out[:, 0] - y) ** 2}, "loss must return one number, got shape .2,.: take its mean"),
        # data
        ({"data": (X[:5], Y[:4])}, "5.*4|4.*5"),
        ({"data": (X[:0], Y[:0])}, "at least one"),
        ({"data": (X.double(), Y)}, r"weights of torch.float32.*torch.float64.*x.to\(torch.float32\)"),
        ({"data": (X.to(torch.uint8), Y)}, r"torch.uint8.*x.to\(torch.float32\)"),
        ({"data": (X[:, :5], Y)}, r"data: .*shape \(2, 5\)"),
        ({"data": (with_nan(X), Y)}, "data: x must be finite"),
        ({"data": (X, Y.float())}, r"int64 labels, got torch.float32: use labels.long\(\)"),
        ({"data": (X, Y.int())}, "int64 labels, got torch.int32"),
        ({"data": (X, Y + 1)}, r"data: labels must lie in 0 … 2, as the model has 3 outputs, got 1 … 3"),
        ({"data": (X, Y - 1)}, "got -1 … 1"),
        # validation data, which the first epoch would not have met
        ({"val_data": (X[:0], Y[:0])}, "at least one"),
        ({"val_data": (X[:, :5], Y)}, r"val_data: .*shape \(2, 5\)"),
        ({"val_data": (with_nan(X), Y)}, "val_data: x must be finite"),
        ({"val_data": (X, Y + 1)}, "val_data: labels must lie in"),
        (
            {"val_data": (X, Y), "loss": lambda out, y: out.mean(), "metrics": {"max": lambda out, y: out}},
            "max must",
        ),
        ({"val_data": (X, X[:, :3]), "data": (X, X[:, :3]), "loss": mean_squared_error}, "accuracy needs.*metrics={}"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(change, words):
    model = MLP((6, 8, 3), generator=generator(0))
    before = {n: t.clone() for n, t in model.state_dict().items()}
    settings = {"data": (X, Y), "optimizer": SGD(0.1), "epochs": 1, "generator": generator(0), "batch_size": 16}
    with pytest.raises((ValueError, TypeError), match=words):
        fit(model, **settings | change, device="cpu")
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


@pytest.mark.parametrize("model", [nn.Flatten(), nn.Linear(6, 3).requires_grad_(False)], ids=["none", "frozen"])
def test_a_model_with_nothing_to_train_is_refused(model):
    with pytest.raises(ValueError, match="nothing to train"):
        fit(model, (X, Y), SGD(0.1), epochs=1, generator=generator(0))


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, BatchNorm, BatchRenorm])
def test_a_single_sample_in_a_batch_norm_batch_is_told_with_its_remedy(norm):
    # catches: the error of the last batch of the first epoch, deep in torch
    model = MLP((6, 8, 3), generator=generator(0), norm=norm)
    settings = {"epochs": 1, "generator": generator(0), "device": "cpu"}
    with pytest.raises(ValueError, match=r"shape \(1, 6\).*2 samples or more.*change batch_size"):
        fit(model, (X, Y), SGD(0.1), batch_size=7, **settings)
    assert model.norms[0].num_batches_tracked == 0
    fit(model, (X, Y), SGD(0.1), batch_size=8, val_data=(X[:1], Y[:1]), **settings)  # evaluation can take one


def test_batch_norm_is_not_blamed_where_there_is_none():
    # catches: the remedy for batch norm at every error of a batch of one sample
    model = MLP((6, 8, 3), generator=generator(0), norm=LayerNorm)
    settings = {"epochs": 1, "generator": generator(0), "device": "cpu", "batch_size": 7}
    with pytest.raises(ValueError, match=r"shape \(1, 5\).*its first layer must fit the samples"):
        fit(model, (X[:, :5], Y), SGD(0.1), **settings)
    fit(model, (X, Y), SGD(0.1), **settings)


def test_the_trial_changes_neither_the_run_nor_the_buffers():
    # catches: torch's global generator or batch norm's statistics moved by looking
    model = MLP((6, 8, 3), generator=generator(0), norm=nn.BatchNorm1d, dropout=0.5)
    tried = []

    def loss(out, y):
        tried.append((out.requires_grad, int(model.norms[0].num_batches_tracked)))
        return cross_entropy(out, y)

    before = torch.get_rng_state()
    fit(model, (X, Y), SGD(0.1), epochs=1, batch_size=25, loss=loss, generator=generator(0), device="cpu")
    assert tried == [(False, 0), (True, 1), (True, 2)]
    assert torch.equal(torch.get_rng_state(), before)


def test_more_outputs_than_classes_are_fine():
    fit(nn.Linear(6, 5), (X, Y), SGD(0.1), epochs=1, generator=generator(0), device="cpu")


@pytest.mark.parametrize("token", [30, -1], ids=["above the table", "below it"])
def test_a_token_without_a_row_is_told_wherever_it_stands(token):
    # catches: the first samples tried alone; a compiled step would read a neighbour's row, or end the process
    x = torch.randint(30, (50, 4), generator=generator(0, "tokens"))
    model = nn.Sequential(nn.Embedding(30, 5), nn.Flatten(), nn.Linear(20, 3))
    fit(model, (x, Y), SGD(0.1), epochs=1, generator=generator(0), batch_size=8)
    x[43, 2] = token
    with pytest.raises(ValueError, match=r"index out of range.*: an embedding needs a row for every"):
        fit(model, (x, Y), SGD(0.1), epochs=1, generator=generator(0), batch_size=8)
