import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib import initialization
from course_lib.activations import get
from course_lib.models import MLP, ConvNet, ResidualMLP, build, count_parameters, mlp_parameter_count
from course_lib.normalization import BatchNorm, GroupNorm
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


NORMS = [None, torch.nn.BatchNorm2d, BatchNorm, lambda n: GroupNorm(n, n)]


@pytest.mark.parametrize(("norm", "after"), [(norm, False) for norm in NORMS] + [(norm, True) for norm in NORMS[1:]])
def test_convnet_is_its_formula(norm, after):
    # catches: an activation left out, the normalisation on the wrong side of it
    model = ConvNet((2, 6, 5), (3, 4), 2, torch.tanh, generator=generator(0), norm=norm, norm_after=after)
    x = torch.randn(7, 2, 6, 5, generator=generator(1))
    a = x
    for i, layer in enumerate(model.layers):
        a = torch.nn.functional.conv2d(a, layer.weight, layer.bias, stride=2, padding=1)
        a = torch.tanh(a) if after or norm is None else torch.tanh(model.norms[i](a))
        a = model.norms[i](a) if after else a
    torch.testing.assert_close(model(x), a.flatten(1) @ model.head.weight.T + model.head.bias)
    assert len(model.norms or ()) == (0 if norm is None else 2)


def test_normalisation_behind_the_activation_and_before_dropout():
    # catches: norm_after without effect; dropout's mask taken into the mean
    options = {"norm": BatchNorm, "norm_after": True, "generator": generator(0)}
    model = MLP((6, 5, 2), torch.tanh, dropout=0.5, **options)
    x = torch.randn(7, 6, generator=generator(1))
    seen = []
    model.layers[-1].register_forward_hook(lambda layer, inputs, out: seen.append(inputs[0]))
    model(x)
    expected = 2 * model.norms[0](torch.tanh(model.layers[0](x)))
    kept = seen[0] != 0
    torch.testing.assert_close(seen[0][kept], expected[kept])


@pytest.mark.parametrize("norm", [torch.nn.BatchNorm1d, BatchNorm])
def test_a_normalisation_leaves_the_draws_of_the_weights_as_they_were(norm):
    # catches: arms of a comparison that start from other weights, or with one layer for two places
    plain, normed = (MLP((6, 5, 5, 2), generator=generator(0), norm=n) for n in (None, norm))
    for a, b in zip(plain.layers, normed.layers, strict=True):
        assert torch.equal(a.weight, b.weight)
    assert len({id(n) for n in normed.norms}) == 2
    assert count_parameters(normed) == count_parameters(plain) + 2 * 2 * 5


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
        (lambda g: MLP((4, 2), generator=g, norm_after=True), "norm_after=True says.*but norm is None"),
        (lambda g: ConvNet((1, 8), (2,), 2, generator=g, norm_after=True), "norm_after=True says"),
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
    assert "norm_after=True" in repr(MLP((2, 2), generator=g, norm=BatchNorm, norm_after=True))
    assert "norm_after=True" in repr(ConvNet((1, 8), (2,), 2, generator=g, norm=BatchNorm, norm_after=True))
    assert "activation=GELU" in repr(ConvNet((1, 8), (2,), 2, torch.nn.GELU(), generator=g))
    assert "skip=concat, activation=relu" in repr(ResidualMLP(2, 2, 1, 2, generator=g, skip="concat"))


@pytest.mark.parametrize("activation", ["tanh", torch.nn.ReLU, None])
def test_an_activation_that_is_no_function_is_refused_at_once(activation):
    for make in (lambda a, g: MLP((2, 3, 2), a, generator=g), lambda a, g: ResidualMLP(2, 3, 1, 2, a, generator=g)):
        with pytest.raises(TypeError, match="activation must be a function"):
            make(activation, generator(0))


@pytest.mark.parametrize("norm", [True, "batch", torch.nn.BatchNorm1d(3), lambda n: n])
def test_a_norm_that_makes_no_layers_is_refused_at_once(norm):
    # catches: the layer itself for its class, which every place would share
    for make in (MLP, lambda sizes, **o: ConvNet((1, 8), (3,), 2, **o)):
        with pytest.raises(TypeError, match="norm must be a function from a number of units to a layer"):
            make((2, 3, 2), generator=generator(0), norm=norm)
