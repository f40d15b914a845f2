"""The recurrent network against torch's, and in training: alone and in a stack."""

import pytest
import torch

from course_lib.clipping import ClipNorm
from course_lib.data import load
from course_lib.optimizers import SGD
from course_lib.recurrent import RNN
from course_lib.rng import generator
from course_lib.sweeps import sweep
from course_lib.training import fit


def sequences(n=7, steps=9, n_in=3):
    return torch.randn(n, steps, n_in, generator=generator(0), dtype=torch.float64)


def torch_twin(model, nonlinearity):
    """torch's network with the same weights; it has two biases, of which one is set to zero."""
    n_in, width = model.input.in_features, model.input.out_features
    twin = torch.nn.RNN(n_in, width, nonlinearity=nonlinearity, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        twin.weight_ih_l0.copy_(model.input.weight)
        twin.weight_hh_l0.copy_(model.recurrent.weight)
        twin.bias_ih_l0.copy_(model.input.bias)
        twin.bias_hh_l0.zero_()
    return twin


@pytest.mark.parametrize("activation", [torch.tanh, torch.relu])
@pytest.mark.parametrize("every_step", [True, False])
def test_rnn_agrees_with_torch_forward_and_backward(activation, every_step):
    # catches: W_h transposed, its gradient from the last step alone, h₀ other than 0, outputs of the first step
    model = RNN(3, 5, 2, activation, generator=generator(1), every_step=every_step).double()
    twin, x = torch_twin(model, activation.__name__), sequences()
    states, last = twin(x)
    theirs = model.head(states if every_step else last[0])
    ours = model(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    back = torch.randn(ours.shape, generator=generator(2), dtype=torch.float64)
    pairs = [(model.input.weight, twin.weight_ih_l0), (model.recurrent.weight, twin.weight_hh_l0)]
    pairs.append((model.input.bias, twin.bias_ih_l0))
    mine = torch.autograd.grad(ours, [a for a, _ in pairs], back)
    for a, b in zip(mine, torch.autograd.grad(theirs, [b for _, b in pairs], back), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_one_seed_gives_one_network():
    # catches: weights from torch's global generator
    a, b, c = (RNN(3, 5, 2, generator=generator(seed)).head.weight for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_a_sweep_stacks_it_and_each_run_ends_as_it_does_alone():
    # catches: a Python branch on a mapped tensor (a warning, so an error here), a loss that mixes runs with steps
    data = load("copy_task", n=64, length=2, delay=3)
    data = data.x.double(), data.y

    def build(g):
        return RNN(6, 8, 5, generator=g).double()

    clips = {"tight": ClipNorm(0.05), "wide": ClipNorm(5.0)}
    settings = {"epochs": 2, "batch_size": 32, "val_data": data, "device": "cpu"}
    runs = sweep(build, data, SGD(0.5), seeds=(0, 1), grid={"clip": clips}, compile=False, **settings).runs
    for row in runs.itertuples():
        model = build(generator(row.seed, "weights"))
        history = fit(
            model, data, SGD(0.5), clip=clips[row.clip], generator=generator(row.seed, "training"), **settings
        )
        for name in ("train_loss", "val_loss", "val_accuracy"):
            assert history.records[-1][name] == pytest.approx(getattr(row, name), abs=1e-10)


def test_a_label_without_an_output_is_refused_by_its_number():
    # catches: labels of sequences that are not looked at before the loss fails on them with an index
    data = load("copy_task", n=8, length=2, delay=3)
    with pytest.raises(ValueError, match="labels must lie in 0 … 3, as the model has 4 outputs, got 0 … 4"):
        fit(RNN(6, 8, 4, generator=generator(0)), data, SGD(0.1), epochs=1, batch_size=8, generator=generator(0))


def test_what_it_cannot_take_is_said():
    for sizes in ((0, 5, 2), (3, 0, 2), (3, 5, 0)):
        with pytest.raises(ValueError, match="must be ≥ 1, got"):
            RNN(*sizes, generator=generator(0))
    with pytest.raises(TypeError, match="must be a function of a tensor"):
        RNN(3, 5, 2, torch.nn.Tanh, generator=generator(0))
    model = RNN(3, 5, 2, generator=generator(0))
    for shape in ((4, 3), (4, 6, 2), (4, 0, 3)):
        with pytest.raises(ValueError, match=r"sequences of shape \(N, T, 3\)"):
            model(torch.zeros(shape))
    assert "activation=tanh" in repr(model)
