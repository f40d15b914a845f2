import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib import initialization
from course_lib.activations import get
from course_lib.models import MLP, ConvNet, ResidualMLP, build, count_parameters, mlp_parameter_count
from course_lib.rng import generator


@given(st.lists(st.integers(1, 20), min_size=2, max_size=5))
def test_formula_counts_what_the_network_has(sizes):
    # catches: one bias for a whole layer (lecture E), or none for the last
    assert mlp_parameter_count(sizes) == count_parameters(MLP(sizes, generator=generator(0)))


def test_frozen_parameters_are_counted_on_request():
    model = MLP((3, 4, 2), generator=generator(0))
    model.layers[0].weight.requires_grad_(False)
    assert count_parameters(model) == 4 + 10
    assert count_parameters(model, trainable_only=False) == 26


def test_mlp_is_its_formula():
    # catches: one layer's normalisation used for all, the activation before it, one after the last layer
    model = MLP((6, 5, 5, 2), torch.tanh, generator=generator(0), norm=torch.nn.BatchNorm1d, dropout=0.2)
    draws = generator(1)
    for norm in model.norms:
        norm.running_mean.copy_(torch.randn(5, generator=draws))
    x = torch.randn(7, 2, 3, generator=draws)
    a = x.reshape(7, 6)
    for layer, norm in zip(model.layers[:-1], model.norms, strict=True):
        z = a @ layer.weight.T + layer.bias
        a = torch.tanh((z - norm.running_mean) / (norm.running_var + norm.eps).sqrt())
    torch.testing.assert_close(model.eval()(x), a @ model.layers[-1].weight.T + model.layers[-1].bias)
    assert model.dropout.rate == 0.2


def test_convnet_is_its_formula():
    # catches: an activation left out
    model = ConvNet((2, 6, 5), (3, 4), 2, torch.tanh, generator=generator(0))
    x = torch.randn(7, 2, 6, 5, generator=generator(1))
    a = x
    for layer in model.layers:
        a = torch.tanh(torch.nn.functional.conv2d(a, layer.weight, layer.bias, stride=2, padding=1))
    torch.testing.assert_close(model(x), a.flatten(1) @ model.head.weight.T + model.head.bias)


@pytest.mark.parametrize("skip", ["none", "add", "concat"])
def test_residual_mlp_is_its_formula(skip):
    model = ResidualMLP(6, 5, 3, 2, torch.tanh, generator=generator(0), skip=skip, growth=2)
    x = torch.randn(7, 6, generator=generator(1))
    h = torch.tanh(model.first(x))
    for layer in model.layers:
        f = torch.tanh(h @ layer.weight.T + layer.bias)
        h = torch.cat([h, f], 1) if skip == "concat" else h * (skip == "add") + f
    torch.testing.assert_close(model(x), model.last(h))


def test_residual_blocks_are_their_formula_and_start_as_the_identity_when_zeroed():
    # catches: an activation after the second layer, a block without its skip, one second layer for all blocks
    model = ResidualMLP(6, 5, 3, 2, torch.tanh, generator=generator(0), skip="block")
    x = torch.randn(7, 6, generator=generator(1))
    h = first = torch.tanh(model.first(x))
    for layer, second in zip(model.layers, model.seconds, strict=True):
        a = torch.tanh(h @ layer.weight.T + layer.bias)
        h = h + a @ second.weight.T + second.bias
    torch.testing.assert_close(model(x), model.last(h))
    initialization.initialize_(model.seconds, "zeros", generator(2))
    torch.testing.assert_close(model(x), model.last(first), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("in_shape", "x"), [((1, 40), torch.zeros(2, 40)), ((3, 32, 32), torch.zeros(2, 3, 32, 32))], ids=str
)
def test_convnet_takes_sequences_and_images(in_shape, x):
    assert ConvNet(in_shape, (4, 5), 10, generator=generator(0))(x).shape == (2, 10)


def test_greydanus_network_has_the_published_size():
    model = ConvNet((1, 40), (25, 25, 25), 10, kernel=(5, 3, 3), generator=generator(0))
    assert count_parameters(model) == (5 + 1) * 25 + 2 * (75 + 1) * 25 + (125 + 1) * 10


def test_dropout_and_batch_norm_act_in_training_only():
    model = MLP((4, 16, 2), generator=generator(0), norm=torch.nn.BatchNorm1d, dropout=0.5)
    x = torch.randn(8, 4, generator=generator(1))
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_same_seed_same_weights_and_the_global_generator_stays():
    before = torch.get_rng_state()
    a, b = (build("mlp", (4, 8, 2), generator=generator(5)) for _ in range(2))
    assert torch.equal(a.layers[0].weight, b.layers[0].weight)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda g: build("mpl", (2, 2), generator=g), "did you mean 'mlp'"),
        (lambda g: MLP((4,), generator=g), "at least an input and an output"),
        (lambda g: MLP((4, 0, 2), generator=g), "each ≥ 1"),
        (lambda g: MLP((4, 2), generator=g, dropout=1.0), "dropout"),
        (lambda g: ConvNet((40,), (4,), 10, generator=g), "in_shape"),
        (lambda g: ConvNet((1, 4), (4, 4, 4, 4), 10, kernel=5, generator=g), "shrinks to nothing"),
        (lambda g: ConvNet((1, 40), (4, 4), 10, kernel=(5, 3, 3), generator=g), "one for each of the 2 layers"),
        (lambda g: ConvNet((1, 40), (4,), 10, stride=0, generator=g), "each ≥ 1"),
        (lambda g: ConvNet((1, 40), (4,), 0, generator=g), "each ≥ 1"),
        (lambda g: ResidualMLP(4, 4, 2, 2, generator=g, skip="sum"), "skip"),
        (lambda g: ResidualMLP(4, 4, -1, 2, generator=g), "depth"),
        (lambda g: ResidualMLP(4, 0, 2, 2, generator=g), "each ≥ 1"),
    ],
)
def test_bad_sizes(make, words):
    with pytest.raises(ValueError, match=words):
        make(generator(0))


def test_convnet_never_cuts_one_sample_into_two():
    # catches: reshape(-1, …), which takes 2 samples of 80 values for 4 of 40
    with pytest.raises(RuntimeError, match="invalid for input"):
        ConvNet((1, 40), (4,), 3, generator=generator(0))(torch.zeros(2, 80))


def test_models_say_what_their_layers_do_not():
    # catches: an activation or a skip that a checkpoint could not tell from another
    g = generator(0)
    assert "activation=tanh" in repr(MLP((2, 2), torch.tanh, generator=g))
    assert "activation=relu" in repr(MLP((2, 2), get("relu"), generator=g))
    assert "activation=GELU" in repr(ConvNet((1, 8), (2,), 2, torch.nn.GELU(), generator=g))
    assert "skip=concat, activation=relu" in repr(ResidualMLP(2, 2, 1, 2, generator=g, skip="concat"))


@pytest.mark.parametrize("activation", ["tanh", torch.nn.ReLU, None])
def test_an_activation_that_is_no_function_is_refused_at_once(activation):
    for make in (lambda a, g: MLP((2, 3, 2), a, generator=g), lambda a, g: ResidualMLP(2, 3, 1, 2, a, generator=g)):
        with pytest.raises(TypeError, match="activation must be a function"):
            make(activation, generator(0))
