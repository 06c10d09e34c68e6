"""What a layer of a teacher said, as one vector or map of each view."""

from types import SimpleNamespace

import pytest
import torch

from fkd.errors import ModelError
from fkd.teachers.pooling import as_vectors

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
        (MAP[..., None], "auto", "it must be vectors"),
        (TOKENS.mean(), "auto", "no tensor with a row for each view"),
        (SimpleNamespace(x=1), "auto", "no tensor with a row for each view"),
    ],
)
def test_what_has_no_such_pool_is_refused(said, pool, words):
    with pytest.raises(ModelError, match=words):
        as_vectors(said, pool, 2, "layer x")
