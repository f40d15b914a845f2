"""Every normalisation against torch, its paper's algorithm or a closed form, forward and backward."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import vmap
from torch.nn.utils import parametrizations
from torch.nn.utils import spectral_norm as torch_spectral_norm

from course_lib.normalization import (
    BatchNorm,
    BatchRenorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    batch_norm,
    batch_norm_backward,
    fold,
    spectral_norm,
    standardize,
    weight_norm,
)
from course_lib.rng import generator

SHAPES = [(6, 4), (6, 4, 5), (6, 4, 3, 2), (1, 4, 5), (2, 4)]
EXACT = {"rtol": 1e-12, "atol": 1e-12}
close = torch.testing.assert_close


def draw(*shape, stream="x", dtype=torch.float64):
    return torch.randn(shape, generator=generator(0, stream), dtype=dtype)


def redraw_(module, stream="parameters"):
    """Give γ, β and the like values that are neither 0 nor 1."""
    g = generator(0, stream)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=p.dtype))
    return module


def gradients(function, *inputs, stream="dy"):
    """Return the output and the gradients of Σ output · dy, with a dy that is drawn."""
    inputs = [t.detach().clone().requires_grad_() for t in inputs]
    out = function(*inputs)
    return out.detach(), *torch.autograd.grad((out * draw(*out.shape, stream=stream)).sum(), inputs)


# by hand


@pytest.mark.parametrize("eps", [1e-5, 0.1])
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_and_its_backward_are_torchs(shape, eps):
    # catches: an unbiased variance, sums over the batch alone, a term or a sign of the backward pass (but the 0)
    x, dy = 3 * draw(*shape) + 2, draw(*shape, stream="dy")
    gamma, beta = draw(4, stream="gamma"), draw(4, stream="beta")

    def theirs(x, gamma, beta):
        return nn.functional.batch_norm(x, None, None, gamma, beta, training=True, eps=eps)

    kept = [t.clone() for t in (x, gamma, beta, dy)]
    y, cache = batch_norm(x, gamma, beta, eps)
    close((y, *batch_norm_backward(dy, cache)), gradients(theirs, x, gamma, beta), **EXACT)
    close([x, gamma, beta, dy], kept, rtol=0, atol=0)


@pytest.mark.parametrize("axes", [0, (0, 2), (1, 2), (2,), (-1, 1)])
def test_standardize_leaves_mean_0_and_variance_v_over_v_plus_eps(axes):
    # catches: eps outside the root, an unbiased variance, a mean over other axes
    x, eps = 2 * draw(3, 4, 5) + 7, 0.5
    out = standardize(x, axes, eps)
    axes = axes if isinstance(axes, tuple) else (axes,)
    v = x.var(axes, correction=0)
    close(out.mean(axes), torch.zeros_like(v), **EXACT)
    close(out.var(axes, correction=0), v / (v + eps), **EXACT)
    assert not standardize(torch.full((3, 4), 7.0), 0).any()


def test_one_picture_of_axes():
    # catches: a layer that takes its mean over other axes than its name says
    x = draw(6, 4, 3, 2)
    grouped = standardize(x.reshape(6, 2, 2, 3, 2), (2, 3, 4)).reshape(x.shape)
    pairs = [
        (BatchNorm(4), standardize(x, (0, 2, 3))),
        (LayerNorm(4), standardize(x, (1, 2, 3))),
        (InstanceNorm(4), standardize(x, (2, 3))),
        (GroupNorm(4, 2), grouped),
    ]
    for layer, expected in pairs:
        close(layer.double()(x), expected, **EXACT)
        close(batch_norm(x, torch.ones(4), torch.zeros(4))[0], pairs[0][1], **EXACT)


# layers against torch's


def twin(ours, theirs):
    """Return both in float64 with the same γ and β; where torch has one for each place, spread."""
    ours, theirs = redraw_(ours.double()), theirs.double()
    with torch.no_grad():
        for name, t in (("weight", ours.gamma), ("bias", ours.beta)):
            p = getattr(theirs, name)
            p.copy_(t.view(-1, *[1] * (p.ndim - 1)).expand(p.shape))
    return ours, theirs


def gamma_gradients(layer, c):
    """Return ∂L/∂γ and ∂L/∂β for each channel; where torch has one for each place, their sum."""
    pair = (layer.gamma, layer.beta) if hasattr(layer, "gamma") else (layer.weight, layer.bias)
    return [p.grad.reshape(c, -1).sum(1) for p in pair]


PAIRS = [
    *((lambda: BatchNorm(4), lambda s=s: (nn.BatchNorm2d if len(s) == 4 else nn.BatchNorm1d)(4), s) for s in SHAPES),
    (lambda: BatchNorm(4, 0.3, 0.1), lambda: nn.BatchNorm1d(4, momentum=0.3, eps=0.1), (6, 4, 5)),
    (lambda: BatchNorm(4, 1.0), lambda: nn.BatchNorm1d(4, momentum=1.0), (6, 4)),
    *((lambda: LayerNorm(4), lambda: nn.GroupNorm(1, 4), s) for s in SHAPES),
    *((lambda: LayerNorm(4), lambda s=s: nn.LayerNorm(s[1:]), s) for s in SHAPES),
    *((lambda: GroupNorm(4, 2), lambda: nn.GroupNorm(2, 4), s) for s in SHAPES),
    (lambda: GroupNorm(4, 4, 0.1), lambda: nn.GroupNorm(4, 4, eps=0.1), (6, 4, 5)),
    (lambda: InstanceNorm(4), lambda: nn.InstanceNorm1d(4, affine=True), (6, 4, 5)),
    (lambda: InstanceNorm(4, 0.1), lambda: nn.InstanceNorm2d(4, affine=True, eps=0.1), (6, 4, 3, 2)),
]


@pytest.mark.parametrize(("ours", "theirs", "shape"), PAIRS)
def test_layers_are_torchs_forward_backward_in_training_and_evaluation(ours, theirs, shape):
    # catches: a biased running variance, momentum on the old value, averages moved in evaluation or before use,
    # γ and β not per channel, channels grouped in steps in place of neighbours
    ours, theirs = twin(ours(), theirs())
    for step in range(5):
        x = (step + 1) * draw(*shape, stream=str(step)) + step
        for layer in (ours, theirs):
            layer.zero_grad()
        (y, dx), (y_torch, dx_torch) = gradients(ours, x), gradients(theirs, x)
        close((y, dx), (y_torch, dx_torch), **EXACT)
        for layer in (ours, theirs):
            (layer(x) * draw(*shape, stream="dy")).sum().backward()
        close(gamma_gradients(ours, 4), gamma_gradients(theirs, 4), **EXACT)
        for name, buffer in ours.named_buffers():
            close(buffer, getattr(theirs, name), **EXACT)
    ours.eval(), theirs.eval()
    kept = copy.deepcopy(ours.state_dict())
    one = draw(1, *shape[1:], stream="one")
    close(gradients(ours, one), gradients(theirs, one), **EXACT)
    close(ours.state_dict(), kept, rtol=0, atol=0)


def test_a_transformers_layer_norm_takes_one_mean_per_place():
    x = draw(6, 4, 5)
    per_place = nn.LayerNorm(4).double()(x.movedim(1, 2)).movedim(2, 1)
    close(per_place, standardize(x, 1), **EXACT)
    assert not torch.allclose(LayerNorm(4).double()(x), per_place)


def test_ends_of_the_groups():
    x = draw(6, 4, 5)
    close(GroupNorm(4, 1).double()(x), LayerNorm(4).double()(x), **EXACT)
    close(GroupNorm(4, 4).double()(x), InstanceNorm(4).double()(x), **EXACT)


# batch renormalisation


def renorm_by_the_paper(x, dy, gamma, beta, mu, sigma, alpha, eps, r_max, d_max):
    """Algorithm 1 and the gradients of Ioffe 2017 on (m, C), in NumPy."""
    m = len(x)
    mu_b = x.sum(0) / m
    sigma_b = np.sqrt(eps + ((x - mu_b) ** 2).sum(0) / m)
    r = np.clip(sigma_b / sigma, 1 / r_max, r_max)
    d = np.clip((mu_b - mu) / sigma, -d_max, d_max)
    x_hat = (x - mu_b) / sigma_b * r + d
    y = gamma * x_hat + beta
    dx_hat = dy * gamma
    dsigma_b = (dx_hat * (x - mu_b) * -r / sigma_b**2).sum(0)
    dmu_b = (dx_hat * -r / sigma_b).sum(0)
    dx = dx_hat * r / sigma_b + dsigma_b * (x - mu_b) / (m * sigma_b) + dmu_b / m
    mu, sigma = mu + alpha * (mu_b - mu), sigma + alpha * (sigma_b - sigma)
    return (y, dx, (dy * x_hat).sum(0), dy.sum(0)), mu, sigma


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("r_max", "d_max"), [(3.0, 5.0), (1.2, 0.3), (1.0, 0.0), (1e9, 1e9)])
def test_batch_renorm_is_the_papers_algorithm(shape, r_max, d_max):
    # catches: gradients through r or d, averages moved before r and d are taken, a running variance for σ, eps
    # outside the root, limits on one side only
    layer = redraw_(BatchRenorm(4, 0.2, 1e-3, r_max, d_max).double())
    gamma, beta = (p.detach().numpy() for p in (layer.gamma, layer.beta))
    mu, sigma = np.zeros(4), np.ones(4)

    def flat(t):
        return t.detach().movedim(1, -1).reshape(-1, 4).numpy()

    for step in range(6):
        x = ((1 + step) * draw(*shape, stream=str(step)) + 4 - 2 * step).requires_grad_()
        dy = draw(*shape, stream="dy")
        settings = (gamma, beta, mu, sigma, 0.2, 1e-3, r_max, d_max)
        (y, dx, dgamma, dbeta), mu, sigma = renorm_by_the_paper(flat(x), flat(dy), *settings)
        out = layer(x)
        got = torch.autograd.grad((out * dy).sum(), (x, layer.gamma, layer.beta))
        for ours, theirs in ((flat(out), y), (flat(got[0]), dx), (got[1], dgamma), (got[2], dbeta)):
            np.testing.assert_allclose(ours, theirs, **EXACT)
        np.testing.assert_allclose(layer.running_mean, mu, **EXACT)
        np.testing.assert_allclose(layer.running_sigma, sigma, **EXACT)
    x = draw(1, *shape[1:])
    np.testing.assert_allclose(flat(layer.eval()(x)), gamma * (flat(x) - mu) / sigma + beta, **EXACT)


def test_batch_renorm_lies_between_batch_norm_and_evaluation():
    # r_max = 1 and d_max = 0 are batch norm; without limits training is what evaluation was before the step
    x = 3 * draw(6, 4) + 1
    close(BatchRenorm(4, r_max=1, d_max=0).double()(x), BatchNorm(4).double()(x), **EXACT)
    free = BatchRenorm(4, r_max=1e9, d_max=1e9).double()
    free(draw(6, 4, stream="before"))
    close(copy.deepcopy(free).eval()(x), free(x), **EXACT)


# weights


@pytest.mark.parametrize(
    "layer", [nn.Linear(5, 4), nn.Conv1d(2, 4, 3), nn.Conv2d(2, 4, (3, 2))], ids=lambda m: type(m).__name__
)
def test_weight_norm_is_torchs(layer):
    # catches: one length for the whole weight, a length per kernel place, a gradient that treats ‖v‖ as a constant
    theirs = redraw_(parametrizations.weight_norm(layer.double(), dim=0))
    g, v = theirs.parametrizations.weight.original0, theirs.parametrizations.weight.original1
    out, dv, dg = gradients(weight_norm, v, g.flatten())
    (theirs.weight * draw(*v.shape, stream="dy")).sum().backward()
    close((out, dv, dg), (theirs.weight.detach(), v.grad, g.grad.flatten()), **EXACT)
    close(out.flatten(1).norm(dim=1), g.detach().flatten().abs(), **EXACT)
    close((dv * v.detach()).flatten(1).sum(1), torch.zeros(4, dtype=torch.float64), **EXACT)


WEIGHTS = [(4, 5), (6, 3), (4, 2, 3), (4, 3, 3, 2)]


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("shape", WEIGHTS)
def test_spectral_norm_is_torchs_over_many_calls(shape, steps):
    # catches: u started anew at each call, a matrix (out · kernel, in), gradients through the power iteration
    kinds = {2: nn.Linear, 3: nn.Conv1d, 4: nn.Conv2d}
    layer = kinds[len(shape)](shape[1], shape[0], *([] if len(shape) == 2 else [shape[2:]])).double()
    theirs = torch_spectral_norm(layer, n_power_iterations=steps, eps=1e-12)
    u, x = theirs.weight_u.clone(), draw(7, shape[1], *shape[2:])
    for step in range(4):
        with torch.no_grad():
            theirs.weight_orig.copy_(draw(*shape, stream=str(step)))
        theirs(x)
        new, u = spectral_norm(theirs.weight_orig, u, steps)
        close(new, theirs.weight, **EXACT)
        close(u, theirs.weight_u, **EXACT)
        dy = draw(*shape, stream="dy")
        one, other = (torch.autograd.grad((w * dy).sum(), theirs.weight_orig)[0] for w in (new, theirs.weight))
        close(one, other, **EXACT)


@pytest.mark.parametrize("shape", WEIGHTS)
def test_spectral_norm_ends_at_the_largest_singular_value(shape):
    # catches: the Frobenius norm for the spectral; the gradient of W / constant
    W, u = draw(*shape), draw(shape[0], stream="u")
    largest = torch.linalg.svdvals(W.flatten(1))[0]
    out, dW = gradients(lambda W: spectral_norm(W, u, 500)[0], W)
    close((out, dW), gradients(lambda W: W / torch.linalg.svdvals(W.flatten(1))[0], W), rtol=1e-10, atol=1e-10)
    close(out, W / largest, **EXACT)
    # torch's newer one goes on from v, so it agrees at the end only
    layer = nn.Linear(*shape[1::-1]) if len(shape) == 2 else nn.Conv1d(1, 1, 1)
    layer.weight = nn.Parameter(W.clone())
    close(out, parametrizations.spectral_norm(layer, n_power_iterations=500).weight, **EXACT)
    once = spectral_norm(W, u, 1)[0]
    assert torch.linalg.svdvals(once.flatten(1))[0] > 1  # one step from any u finds too small a σ


# folding


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("make", "shape", "norms"),
    [
        (lambda b: nn.Linear(3, 4, bias=b), (6, 3), [nn.BatchNorm1d(4), nn.BatchNorm1d(4, affine=False)]),
        (lambda b: nn.Conv1d(3, 4, 2, stride=2, padding=1, bias=b), (6, 3, 7), [nn.BatchNorm1d(4)]),
        (lambda b: nn.Conv2d(4, 4, 3, groups=2, bias=b), (6, 4, 5, 4), [nn.BatchNorm2d(4)]),
    ],
)
def test_a_folded_layer_is_both(make, shape, norms, bias):
    # catches: a bias that is not scaled, the variance for its root, γ on the wrong axis, the original changed
    for norm in [BatchNorm(4, 0.3, 0.1), BatchRenorm(4, 0.3), *norms]:
        layer, norm = make(bias).double(), redraw_(norm.double()).train()
        for step in range(3):
            norm((1 + step) * layer(draw(*shape, stream=str(step))) + step)
        norm.eval()
        kept = copy.deepcopy((layer.state_dict(), norm.state_dict()))
        folded, x = fold(layer, norm), draw(*shape)
        assert type(folded) is type(layer)
        close(folded(x), norm(layer(x)), **EXACT)
        with torch.no_grad():
            folded.weight.zero_()
        close((layer.state_dict(), norm.state_dict()), kept, rtol=0, atol=0)


# mapped over runs; what every layer keeps

LAYERS = [
    lambda: BatchNorm(4),
    lambda: BatchRenorm(4, 0.3),
    lambda: LayerNorm(4),
    lambda: InstanceNorm(4),
    lambda: GroupNorm(4, 2),
]


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", LAYERS)
def test_layers_keep_dtype_shape_and_input(make, dtype, train):
    layer, x = make().to(dtype).train(train), draw(6, 4, 5, dtype=dtype)
    kept = x.clone()
    out = layer(x)
    assert (out.dtype, out.shape) == (dtype, x.shape)
    close(x, kept, rtol=0, atol=0)
    copied = make().to(dtype)
    copied.load_state_dict(layer.state_dict())
    close(copied.eval()(x), layer.eval()(x), rtol=0, atol=0)
    assert "4, eps=1e-05" in repr(layer)


def test_each_run_has_its_own_weight_and_singular_vector():
    # catches: a question to a mapped tensor (the check for zeros), one σ for all runs
    W, u, g = draw(3, 4, 5), draw(3, 4, stream="u"), draw(3, 4, stream="g")
    mapped = vmap(spectral_norm)(W, u)
    for i in range(3):
        close((mapped[0][i], mapped[1][i]), spectral_norm(W[i], u[i]), **EXACT)
        close(vmap(weight_norm)(W, g)[i], weight_norm(W[i], g[i]), **EXACT)
    W[1] = 0
    finite = [vmap(f)(W, v).isfinite().all((1, 2)) for f, v in ((lambda *a: spectral_norm(*a)[0], u), (weight_norm, g))]
    assert [f.tolist() for f in finite] == [[True, False, True]] * 2


# bad input

ONE, X, C = torch.ones(4), torch.ones(6, 4, 5), torch.zeros(4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: BatchNorm(4)(torch.ones(1, 4)), r"more than 1 value per channel, got 1: shape \(1, 4\).*2 samples"),
        (lambda: BatchRenorm(4)(torch.ones(1, 4, 1)), "more than 1 value per channel, got 1"),
        (lambda: BatchNorm(4)(torch.ones(0, 4)), "more than 1 value per channel, got 0"),
        (lambda: batch_norm(torch.ones(1, 4), ONE, C), "more than 1 value per channel, got 1.*eval"),
        (lambda: GroupNorm(6, 4), "groups must divide the 6 channels, got 4: use one of 1, 2, 3, 6"),
        (lambda: GroupNorm(4, 0), "groups must be at least 1"),
        (lambda: BatchNorm(0), "n must be at least 1"),
        (lambda: BatchNorm(4, eps=-1e-5), "eps must be ≥ 0"),
        (lambda: LayerNorm(4, eps=float("nan")), "eps must be ≥ 0"),
        (lambda: BatchNorm(4, momentum=0), r"momentum must be in \(0, 1\], got 0.*weight of the new value"),
        (lambda: BatchNorm(4, momentum=1.1), "momentum"),
        (lambda: BatchRenorm(4, r_max=0.5), "r_max must be ≥ 1"),
        (lambda: BatchRenorm(4, d_max=-1), "d_max must be ≥ 0"),
        (lambda: BatchRenorm(4, r_max=float("nan")), "r_max must be ≥ 1"),
        (lambda: BatchNorm(4)(torch.ones(4)), r"takes \(N, 4\) or \(N, 4, \*space\), got shape \(4,\)"),
        (lambda: BatchNorm(3)(X), "BatchNorm over 3 channels.*got shape .6, 4, 5.*axis 1"),
        (lambda: LayerNorm(5)(X), "LayerNorm over 5 channels"),
        (lambda: batch_norm(X, torch.ones(3), C), "batch_norm over 3 channels"),
        (lambda: batch_norm(X, ONE, torch.ones(3)), "batch_norm over 3 channels"),
        (lambda: batch_norm(X, ONE, C, -1.0), "eps must be ≥ 0"),
        (lambda: batch_norm_backward(X[:5], batch_norm(X, ONE, C)[1]), r"shape of y, \(6, 4, 5\), got \(5, 4, 5\)"),
        (lambda: InstanceNorm(4)(torch.ones(6, 4)), "2 values or more.*larger groups"),
        (lambda: GroupNorm(4, 4)(torch.ones(6, 4)), "2 values or more"),
        (lambda: LayerNorm(1)(torch.ones(6, 1)), "2 values or more"),
        (lambda: standardize(X, (0,), -1.0), "eps must be ≥ 0"),
        (lambda: weight_norm(torch.ones(4), ONE), "v must be"),
        (lambda: weight_norm(torch.ones(4, 3), ONE[:3]), r"shapes \(4, 3\) and \(3,\)"),
        (lambda: weight_norm(torch.eye(4)[:, :3], ONE), r"all zeros for units \[3\]: draw"),
        (lambda: spectral_norm(torch.zeros(4, 3), ONE), "largest singular value must be > 0.*W is all zeros"),
        (lambda: spectral_norm(torch.eye(4)[:, :3], torch.eye(4)[3]), "draw u anew"),
        (lambda: spectral_norm(torch.eye(4), ONE[:3]), r"shapes \(4, 4\) and \(3,\)"),
        (lambda: spectral_norm(torch.eye(4), ONE, steps=0), "steps must be at least 1"),
        (lambda: spectral_norm(torch.eye(4), ONE, eps=0.0), "eps must be > 0"),
        (lambda: fold(nn.Linear(3, 4), BatchNorm(4)), r"evaluation mode.*norm.eval\(\)"),
        (lambda: fold(nn.Linear(3, 4), nn.BatchNorm1d(4)), r"evaluation mode.*norm.eval\(\)"),
        (lambda: fold(nn.Linear(3, 4), BatchNorm(3).eval()), "the 4 channels that the layer puts out, got 3"),
        (lambda: fold(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False).eval()), "track_running_stats"),
    ],
)
def test_bad_input_is_refused_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_what_is_no_layer_or_no_batch_norm_is_not_folded():
    with pytest.raises(TypeError, match="dense or convolutional, got ReLU"):
        fold(nn.ReLU(), BatchNorm(4).eval())
    with pytest.raises(TypeError, match="no fixed scale and shift"):
        fold(nn.Linear(3, 4), LayerNorm(4).eval())


def test_a_refused_batch_moves_nothing():
    # catches: averages that take in a batch before it is looked at
    layer = BatchNorm(4)
    with pytest.raises(ValueError, match="more than 1 value"):
        layer(torch.ones(1, 4))
    assert int(layer.num_batches_tracked) == 0
    layer.eval()(torch.ones(1, 4))  # evaluation takes one
