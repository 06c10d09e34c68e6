"""What inner layers of a network say."""

import pytest
import torch
from torch import nn

from fkd.errors import ModelError
from fkd.models import Tapped, layer_names, thin_resnet


class Branching(nn.Module):
    """A network with a layer that it does not pass, and one that it passes twice."""

    def __init__(self):
        super().__init__()
        self.twice, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        """Pass one layer twice."""
        return self.twice(self.twice(x))


def test_layers_say_what_they_said_and_the_answer_is_as_before():
    model = thin_resnet(5).eval()
    views = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tapped = Tapped(model, ["", "features", "6", "6"], "student x")
    answer, said = tapped(views)
    plain = model(views)
    assert torch.equal(answer, plain)
    assert torch.equal(said[""], plain)
    assert torch.equal(said["features"], model[:-1](views))
    assert torch.equal(said["6"], model[:7](views))
    assert list(said) == ["", "features", "6"]
    tapped.remove()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_layer_that_is_passed_twice_says_its_last_word():
    model, x = Branching(), torch.rand(3, 4)
    _, said = Tapped(model, ["twice"], "student x")(x)
    assert torch.equal(said["twice"], model(x))


def test_what_a_layer_said_stays_when_the_next_one_writes_into_it():
    model, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True)), torch.randn(8, 4)
    _, said = Tapped(model, ["0"], "student x")(x)
    assert torch.equal(said["0"], model[0](x))
    assert (said["0"] < 0).any()


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("6.frst", "no layer 6.frst; it has features, 6.first"),
        ("nothing-like-it", "no layer nothing-like-it; it has features, 0, 1, 2"),
    ],
)
def test_a_layer_that_is_not_there_is_refused_with_those_like_it(layer, words):
    with pytest.raises(ModelError, match=words):
        Tapped(thin_resnet(5), [layer], "student x")


def test_a_layer_that_is_not_passed_is_an_error():
    with pytest.raises(ModelError, match="student x does not pass its layer unused"):
        Tapped(Branching(), ["unused"], "student x")(torch.rand(3, 4))
    with pytest.raises(ModelError, match="has no linear layer"):
        Tapped(nn.Sequential(nn.Conv2d(3, 3, 1)), ["features"], "student x")
    assert layer_names(Branching()) == ["twice", "unused"]


def test_what_a_layer_said_is_not_what_is_written_over_it():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Identity())
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    _, said = Tapped(model, ["0", "1"], "student x")(x)
    assert torch.equal(said["0"], model[0](x))
    assert (said["0"] < 0).any()
    assert torch.equal(said["1"], said["0"].relu())
