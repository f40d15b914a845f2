"""Layers in the form that maps well: a convolution by slices is torch's, and what it cannot be stays torch's."""

import pytest
import torch
from torch import nn

from course_lib.flat import Layout
from course_lib.mapped import MappedLayout, mapped_model
from course_lib.rng import generator

CONVOLUTIONS = [
    (nn.Conv1d, (2, 9), {"kernel_size": 3}),
    (nn.Conv1d, (2, 9), {"kernel_size": 4, "stride": 3, "padding": 2, "bias": False}),
    (nn.Conv1d, (1, 12), {"kernel_size": 3, "dilation": 2, "padding": 1}),
    (nn.Conv1d, (2, 11), {"kernel_size": 2, "stride": 3}),  # some inputs are never seen
    (nn.Conv2d, (2, 7, 6), {"kernel_size": (3, 2), "stride": (2, 1), "padding": (0, 2)}),
    (nn.Conv2d, (3, 5, 5), {"kernel_size": 1}),
    (nn.Conv2d, (1, 8, 9), {"kernel_size": 3, "dilation": (2, 1), "padding": 1, "stride": 2}),
]


@pytest.mark.parametrize(("kind", "shape", "options"), CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("batched", [True, False])
def test_a_convolution_by_slices_is_torchs(kind, shape, options, batched):
    # catches: axes or kernel positions in another order, padding of the wrong axis, the last column lost, a patch
    # left out of the input's gradient or counted twice
    draws = generator(0, "conv")
    layer = kind(shape[0], 4, **options).double()
    mapped = mapped_model(layer)
    assert type(mapped) is not kind
    x = torch.randn((5, *shape) if batched else shape, generator=draws, dtype=torch.float64).requires_grad_()
    torch.testing.assert_close(mapped(x), layer(x), rtol=1e-12, atol=1e-12)
    back = torch.randn(layer(x).shape, generator=draws, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((m(x) * back).sum(), [x, *m.parameters()]) for m in (mapped, layer))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_the_gradient_of_a_convolution_has_a_gradient():
    # catches: a backward pass by hand that autograd cannot follow, as a penalty on gradients needs
    layer = mapped_model(nn.Conv1d(2, 3, 3, stride=2, padding=1).double())
    x = torch.randn(2, 2, 7, generator=generator(0, "conv"), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: layer(x).square(), x)


@pytest.mark.parametrize("options", [{"groups": 2}, {"padding": "same"}, {"padding_mode": "circular", "padding": 1}])
def test_other_convolutions_stay_torchs(options):
    layer = nn.Conv1d(2, 4, 3, **options)
    assert type(mapped_model(layer)) is nn.Conv1d


def test_the_model_that_is_mapped_is_a_copy():
    model = nn.Sequential(nn.Conv1d(1, 1, 3), nn.Dropout(0.5))
    mapped_model(model)
    assert [type(m) for m in model] == [nn.Conv1d, nn.Dropout]


@pytest.mark.parametrize(("kind", "shape", "options"), CONVOLUTIONS, ids=str)
def test_a_layout_for_mapped_models_unpacks_what_it_packed_and_gives_the_plain_order(kind, shape, options):
    # catches: the order of a layout forgotten in one of the three ways, or inverted
    model = nn.Sequential(nn.Linear(3, 3), kind(shape[0], 4, **options), nn.Linear(2, 5)).double()
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    mapped, plain = MappedLayout(model, tensors), Layout(tensors)
    packed = mapped.pack(tensors)
    for name, tensor in mapped.unpack(packed).items():
        assert torch.equal(tensor, tensors[name])
    assert torch.equal(mapped.plain(packed[None]), plain.pack(tensors)[None])


def test_a_layout_for_mapped_models_keeps_a_convolution_as_its_product_reads_it():
    # catches: the order that every step would have to copy; a filter in front of which nothing stands
    model = nn.Sequential(nn.Conv1d(2, 3, 4))
    mapped = MappedLayout(model, {n: p.detach() for n, p in model.named_parameters()})
    weight = mapped.unpack(torch.arange(27.0))["0.weight"]
    assert weight.shape == (3, 2, 4)
    assert weight.permute(2, 1, 0).is_contiguous()
