"""What a layer of a teacher or a student said, as one vector or map of each view."""

from types import SimpleNamespace

import pytest
import torch

from fkd.errors import ModelError
from fkd.models import as_vectors

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


@pytest.mark.parametrize("shape", [(6, 8, 10), (32, 7, 7)])
def test_maps_that_may_be_either_are_refused(shape):
    with pytest.raises(
        ModelError, match="of views of 192x256 px, which does not tell whether chan"
    ):
        as_vectors(torch.rand(1, *shape), "auto", 1, "layer x", (192, 256))
