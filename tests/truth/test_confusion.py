"""Pixel accuracy and intersection over union, against numbers that were worked out by hand."""

import math

import pytest
import torch

from fkd.config import IGNORED
from fkd.truth import Confusion


def test_what_is_said_is_counted_by_class():
    found = Confusion(4)
    assert (found.pixel_accuracy, found.miou, found.num_pixels) == (0.0, 0.0, 0)
    truth = torch.tensor([[0, 0, 0, 0], [1, 1, 2, IGNORED]], dtype=torch.uint8)
    found.add(torch.tensor([[0, 0, 0, 1], [1, 0, 1, 3]]), truth)
    assert found.num_pixels == 7
    assert found.pixel_accuracy == pytest.approx(4 / 7)
    iou = found.iou.tolist()
    assert iou[:3] == pytest.approx([3 / 5, 1 / 4, 0.0])
    assert math.isnan(iou[3])  # neither said where something counts, nor true
    assert found.miou == pytest.approx((3 / 5 + 1 / 4) / 3)
    assert found.chance == pytest.approx((4 * 4 + 2 * 3) / 49)
    assert found.worst("abcd", 2) == [("c", 0.0), ("b", 0.25)]
    found.add(torch.full((3,), 3), torch.tensor([3, 3, 2], dtype=torch.uint8))
    assert found.iou.tolist()[3] == pytest.approx(2 / 3)
