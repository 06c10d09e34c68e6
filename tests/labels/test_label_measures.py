"""Measures of labels refuse what does not belong together, and labels move as tensors do."""

import pytest
from helpers.labels import some_labels

from fkd.errors import SoftLabelError
from fkd.labels import cross_entropy, entropy


def test_measures_refuse_labels_of_other_shapes():
    sparse, dense = some_labels("topk5", 6, 9), some_labels("full", 6, 9)
    for ask in (
        lambda: dense.dense(10),
        lambda: entropy(dense, 10),
        lambda: entropy(sparse, 4),
        lambda: cross_entropy(sparse, some_labels("topk5", 5, 9), 9),
    ):
        with pytest.raises(SoftLabelError):
            ask()


@pytest.mark.parametrize("reading", ["full", "topk5"])
def test_labels_move_as_tensors_do(reading):
    labels = some_labels(reading)
    assert len(labels) == 7
    moved = labels.to("meta", non_blocking=True)
    assert {moved.value.device.type, moved.tail.device.type} == {"meta"}
    assert (moved.index is None) == (reading == "full")
    assert moved.index is None or moved.index.device.type == "meta"
    kept = "all 100 classes" if reading == "full" else "5 classes kept"
    assert repr(labels) == f"SoftLabels(7 crops, {kept}, cpu)"
