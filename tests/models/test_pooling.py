"""What a layer of a teacher or a student said, as one vector or map of each view."""

from types import SimpleNamespace

import pytest
import torch

from fkd.errors import ModelError
from fkd.models import as_vectors, find_cubes_last

TOKENS = torch.arange(24.0).reshape(2, 3, 4)
MAP = torch.arange(48.0).reshape(2, 2, 3, 4)
SQUARE = torch.arange(64.0).reshape(2, 2, 4, 4)


@pytest.mark.parametrize(
    ("said", "pool", "expected"),
    [
        (TOKENS[:, 0], "auto", TOKENS[:, 0]),
        (TOKENS, "auto", TOKENS.mean(dim=1)),
        (TOKENS, "cls", TOKENS[:, 0]),
        (MAP, "auto", MAP),
        (MAP, "mean", MAP.mean(dim=(2, 3))),
        ({"hidden": TOKENS, "other": MAP}, "cls", TOKENS[:, 0]),
        ((None, MAP), "none", MAP),
        ((TOKENS.long(), TOKENS), "auto", TOKENS.mean(dim=1)),
        (SQUARE, "none", SQUARE),
        (SQUARE.permute(0, 2, 3, 1), "auto", SQUARE),
        (SQUARE.permute(0, 2, 3, 1), "mean", SQUARE.mean(dim=(2, 3))),
    ],
)
def test_tokens_and_maps_become_what_is_asked(said, pool, expected):
    assert torch.equal(as_vectors(said, pool, 2, "layer x"), expected)


@pytest.mark.parametrize(
    ("said", "pool", "words"),
    [
        (TOKENS, "none", r"\[2, 3, 4\], which has no pool none; choose mean or cls"),
        (MAP, "cls", "which has no pool cls; choose none or mean"),
        (TOKENS[:, 0], "mean", "which has no pool mean; choose auto"),
        (MAP[..., None], "auto", r"says \[2, 2, 3, 4, 1\]; of 2 views it must be vectors"),
        (TOKENS.mean(), "auto", r"says \[\]; of 2 views"),
        (torch.cat([TOKENS, TOKENS]), "auto", r"says \[4, 3, 4\]; of 2 views"),
        (TOKENS.long(), "auto", r"says \[2, 3, 4\] of torch.int64; of 2 views"),
        ((None, MAP[0, 0]), "auto", r"says a tuple of \[3, 4\]; of 2 views"),
        (SimpleNamespace(x=1), "auto", "says a SimpleNamespace; of 2 views"),
    ],
)
def test_what_has_no_such_pool_is_refused(said, pool, words):
    with pytest.raises(ModelError, match=words):
        as_vectors(said, pool, 2, "layer x")


@pytest.mark.parametrize(
    ("sides", "shape", "last"),
    [
        ((192, 256), (6, 8, 768), True),
        ((192, 256), (2048, 6, 8), False),
        ((192, 256), (64, 48, 64), False),
        ((192, 256), (48, 64, 64), True),
        ((190, 250), (7, 9, 8), True),  # of 6.8 x 8.9 positions
        ((192, 256), (512, 7, 7), False),  # pooled to one grid for all views
        ((192, 256), (512, 1, 1), False),
        ((192, 256), (1, 1, 512), True),
        ((32, 320), (64, 4, 80), False),  # rows are halved more often than columns
        ((32, 320), (1, 80, 512), True),
        ((224, 224), (7, 7, 768), True),
        ((224, 224), (96, 96, 96), False),
    ],
)
def test_channels_are_known_by_the_proportion_of_the_views(sides, shape, last):
    said = torch.rand(1, *shape)
    expected = said.permute(0, 3, 1, 2) if last else said
    assert torch.equal(as_vectors(said, "auto", 1, "layer x", sides), expected)


@pytest.mark.parametrize("sizes", [(8, 16), (8, 8)])
def test_maps_as_deep_as_they_are_wide_are_told_by_larger_views(sizes, capsys):
    """Of a network that says one grid for all views they are not, and count as a convolution's."""

    def ask(views):
        side = sizes[len(views[0, 0]) > 32]
        first = torch.zeros(2, 8, side, side)
        return None, {"swin": first.permute(0, 2, 3, 1), "conv": first, "head": first.mean((2, 3))}

    last = find_cubes_last(ask, torch.zeros(2, 3, 32, 32), "teacher t")
    assert last == ({"swin"} if sizes[1] == 16 else set())
    said = capsys.readouterr().err
    assert ("layer conv of teacher t says [8, 8, 8] of a view" in said) == (sizes[1] == 8)
    cube = torch.rand(2, 4, 4, 4)
    turned = as_vectors(cube, "auto", 2, "layer x", (32, 32), cubes_last=True)
    assert torch.equal(turned, cube.permute(0, 3, 1, 2))


@pytest.mark.parametrize("shape", [(6, 8, 10), (32, 7, 7)])
def test_maps_that_may_be_either_are_refused(shape):
    with pytest.raises(
        ModelError, match="of views of 192x256 px, which does not tell whether chan"
    ):
        as_vectors(torch.rand(1, *shape), "auto", 1, "layer x", (192, 256))
