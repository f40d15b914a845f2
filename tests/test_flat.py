import pytest
import torch

from course_lib.flat import Layout


def tensors():
    return {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(6.0), "c": torch.tensor([7.0, 8.0])}


def test_pack_and_unpack_are_inverse():
    # catches: another order of names, a shape lost, a scalar dropped
    layout = Layout(tensors())
    vector = layout.pack(dict(reversed(tensors().items())))
    assert vector.tolist() == [*range(9)]
    for name, tensor in layout.unpack(vector).items():
        assert torch.equal(tensor, tensors()[name])


def test_unpack_gives_views_and_pack_copies():
    layout, given = Layout(tensors()), tensors()
    vector = layout.pack(given)
    layout.unpack(vector)["a"].zero_()
    assert vector[:6].sum() == 0
    assert given["a"].sum() > 0


@pytest.mark.parametrize("bad", [{}, {"a": torch.ones(1), "b": torch.ones(1, dtype=torch.float64)}])
def test_one_dtype_on_one_device(bad):
    with pytest.raises(ValueError, match="of one dtype and on one device, got"):
        Layout(bad)
