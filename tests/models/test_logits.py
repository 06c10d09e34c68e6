"""Logits are found in whatever a network returns, or it is said what may be them."""

import collections
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from fkd import FkdError
from fkd.errors import ModelError
from fkd.models import find_logits, output_shape

LOGITS, OTHER, MAP = torch.ones(4, 3), torch.zeros(4, 3), torch.ones(4, 8, 7, 7)
Named = collections.namedtuple("Named", "aux logits")


@dataclass
class Answer:
    hidden: torch.Tensor
    logits: torch.Tensor | None = None


class Loose:
    logits = LOGITS


@pytest.mark.parametrize(
    "answer",
    [
        LOGITS, (LOGITS,), [LOGITS, OTHER], (LOGITS, OTHER, OTHER), (LOGITS, MAP), (MAP, LOGITS),
        (LOGITS, None), {"logits": LOGITS, "other": OTHER}, {"out": LOGITS, "features": MAP},
        Named(OTHER, LOGITS), Answer(OTHER, LOGITS), Answer(LOGITS), Loose(),
        {"out": MAP, "aux": LOGITS, "logits": LOGITS},
        collections.OrderedDict(loss=torch.ones(()), logits=LOGITS),
    ],
    ids=lambda answer: type(answer).__name__,
)  # fmt: skip
def test_the_logits_are_found(answer):
    assert find_logits(answer, 4, "it") is LOGITS


@pytest.mark.parametrize(
    ("answer", "listed"),
    [
        ({"main": LOGITS, "aux": OTHER}, r"main \[4, 3\], aux \[4, 3\]"),
        ((torch.ones(4, 512), LOGITS), r"0 \[4, 512\], 1 \[4, 3\]"),
        ([MAP, LOGITS, OTHER], r"1 \[4, 3\], 2 \[4, 3\]"),
        (Answer(LOGITS, {}) and {"hidden": LOGITS, "more": torch.ones(4, 9)}, "hidden"),
    ],
)
def test_several_that_may_be_the_logits_are_named(answer, listed):
    with pytest.raises(FkdError, match=rf"it returns several tensors that may be .*{listed}"):
        find_logits(answer, 4, "it")


@pytest.mark.parametrize(
    "answer", [None, {}, (), (torch.ones(4, 8, 7, 2, 2),), 5, {"a": torch.ones(3, 3)}]
)
def test_where_there_are_none_the_answer_stays(answer):
    assert find_logits(answer, 4, "it") is answer


def test_a_model_that_returns_several_is_counted():
    class Two(nn.Linear):
        def forward(self, x):
            y = super().forward(x.flatten(1))
            return {"logits": y, "features": x}

    assert output_shape(Two(12, 5), torch.ones(2, 3, 2, 2), "it", "mend it", learns=True).count == 5


def test_outputs_without_a_number_are_refused():
    with pytest.raises(
        ModelError, match=r"it returns \[2, 3, 0, 4\] of views of 2 px, no number; mend"
    ):
        output_shape(
            lambda views: views.new_zeros(2, 3, 0, 4), torch.ones(2, 3, 2, 2), "it", "mend"
        )
