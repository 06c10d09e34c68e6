"""A batch of soft labels is cut, joined and moved as a tensor is, or says why not in one line."""

import numpy as np
import pytest
import torch
from helpers.labels import READINGS, some_labels

from fkd import FkdError
from fkd.labels import SoftLabels


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (2, [2]),
        (-1, [5]),
        (np.int64(2), [2]),
        (torch.tensor(2), [2]),
        ((4, 1), [4, 1]),
        ([4, 1], [4, 1]),
        (range(2), [0, 1]),
        (np.array([4, 1]), [4, 1]),
        (torch.tensor([4, 1]), [4, 1]),
        (slice(4, None), [4, 5]),
        (np.arange(6) == 3, [3]),
        (torch.arange(6) == 3, [3]),
        ([], []),
    ],
)
def test_rows_are_named_in_many_ways_and_no_axis_is_lost(reading, rows, expected):
    labels = some_labels(reading, 6, 9)
    found = labels[rows]
    assert found.tail.shape == (len(expected),)
    assert torch.equal(found.dense(9), labels.dense(9)[expected])


@pytest.mark.parametrize("rows", [True, None, ..., 1.5, "1", torch.zeros(2, 2, dtype=torch.long)])
def test_what_names_no_rows_is_refused(rows):
    with pytest.raises(FkdError, match=r"rows are of the class .*; give a slice, numbers of shape"):
        some_labels("topk5", 6, 9)[rows]


def test_labels_of_two_forms_are_not_joined():
    sparse, narrow, full = (some_labels(reading, 6, 5) for reading in ("topk5", "topk2", "full"))
    assert sparse.value.shape == full.value.shape
    for parts in ([sparse, full], [full, sparse], [sparse, narrow], []):
        with pytest.raises(FkdError, match=r"batch.* of soft labels cannot be joined"):
            SoftLabels.concatenate(parts)


def test_ids_are_never_made_floats():
    with pytest.raises(FkdError, match=r"go to a device, not to torch\.float16"):
        some_labels("topk5", 6, 9).to(torch.float16)


@pytest.mark.parametrize("share", [1.5, -0.1, float("nan"), torch.rand(5), torch.rand(6, 1)])
def test_labels_are_mixed_in_shares(share):
    labels = some_labels("topk5", 6, 9)
    with pytest.raises(FkdError, match=r"share( is|s are of shape)"):
        labels.mix(labels, share, 9)


@pytest.mark.parametrize("reading", READINGS)
def test_the_top_class_is_the_most_likely_also_where_a_class_took_the_place_of_the_last(reading):
    torch.manual_seed(0)
    labels = some_labels(reading, 40, 9)
    assert torch.equal(labels.top_class, labels.dense(9).argmax(dim=1))
