"""What brings a layer of a student to the shape of the vectors that it is compared with."""

import pytest
import torch
from torch import nn

from fkd.errors import ModelError
from fkd.models import Adaptor


def weights(adaptor):
    return [
        type(module).__name__ for module in adaptor.modules() if len(list(module.children())) == 0
    ]


@pytest.mark.parametrize(
    ("own", "wanted", "adapt", "layers"),
    [
        ((8,), (8,), "auto", ["Identity"]),
        ((8,), (8,), "none", ["Identity"]),
        ((8,), (5,), "auto", ["Linear"]),
        ((8,), (8,), "linear", ["Linear"]),
        ((8,), (5,), "mlp", ["Linear", "GELU", "Linear"]),
        ((8, 4, 4), (5,), "auto", ["Linear"]),
        ((8, 4, 4), (8, 2, 3), "auto", ["Identity"]),
        ((8, 4, 4), (5, 2, 3), "auto", ["Conv2d"]),
        ((8, 2, 3), (5, 4, 4), "mlp", ["Conv2d", "GELU", "Conv2d"]),
    ],
)
def test_shapes_are_brought_together(own, wanted, adapt, layers):
    adaptor = Adaptor(own, wanted, adapt)
    assert weights(adaptor) == layers
    assert adaptor.learns == (layers != ["Identity"])
    said = torch.randn(3, *own, requires_grad=True)
    found = adaptor(said)
    assert found.shape == (3, *wanted)
    assert torch.autograd.grad(found.sum(), said)[0].abs().sum() > 0


def test_a_map_is_averaged_or_resized_and_what_agrees_is_left_alone():
    said = torch.randn(2, 4, 6, 6)
    assert torch.equal(Adaptor((4, 6, 6), (4, 6, 6), "auto")(said), said)
    assert torch.allclose(Adaptor((4, 6, 6), (4,), "none")(said), said.mean(dim=(2, 3)))
    constant = torch.full((1, 4, 6, 6), 2.0)
    assert torch.allclose(Adaptor((4, 6, 6), (4, 3, 9), "auto")(constant), torch.tensor(2.0))
    larger = Adaptor((4, 6, 6), (4, 3, 3), "auto")(said)
    assert larger.mean() == pytest.approx(float(said.mean()), abs=0.05)


def test_a_map_is_resized_to_the_grid_though_views_grow():
    """Weights are of channels alone, so one adaptor serves all sizes of views."""
    adaptor = Adaptor((4, 6, 6), (5, 3, 3), "auto")
    assert adaptor(torch.randn(2, 4, 9, 7)).shape == (2, 5, 3, 3)


@pytest.mark.parametrize(
    ("own", "wanted", "adapt", "said"),
    [
        ((8,), (5,), "none", "8 numbers, and is compared with 5 numbers; with adapt="),
        ((8,), (5, 2, 2), "auto", "8 numbers, which is no map, and is compared with 5 channels of 2 x 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_brought_together_is_refused(own, wanted, adapt, said):
    with pytest.raises(ModelError, match=said):
        Adaptor(own, wanted, adapt)


def test_what_it_has_is_told():
    assert str(Adaptor((8, 4, 4), (5,), "auto")) == (
        "8 channels of 4 x 4 positions to 5 numbers, 45 parameters"
    )
    assert isinstance(Adaptor((8, 4, 4), (5,), "auto"), nn.Module)
