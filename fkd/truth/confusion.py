"""What is said at each pixel, counted against the truth: pixel accuracy, and intersection over union.

Legend: C classes, n pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fkd.config import IGNORED


class Confusion:
    """How many pixels of each class are taken for each: `counts`, int64 [C, C], truth by row.

    Pixels of no class are left out.
    """

    def __init__(self, num_classes: int) -> None:
        """Begin with no pixel counted."""
        self.counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)

    def add(self, said: Tensor, truth: Tensor) -> None:
        """Count what is `said`, numbers of classes of any shape, against `truth`, uint8 of the same."""
        num_classes = len(self.counts)
        valid = truth != IGNORED
        pairs = truth[valid].long() * num_classes + said[valid].long()
        self.counts += pairs.bincount(minlength=num_classes**2).view_as(self.counts).cpu()

    @property
    def num_pixels(self) -> int:
        """How many pixels have a class."""
        return int(self.counts.sum())

    @property
    def pixel_accuracy(self) -> float:
        """Share of pixels, in [0, 1], at which the class is right; 0 of none."""
        return int(self.counts.diagonal().sum()) / max(1, self.num_pixels)

    @property
    def iou(self) -> Tensor:
        """Intersection over union of each class, f64 [C]: TP / (TP + FP + FN).

        NaN of a class that is neither in the truth nor said.
        """
        right = self.counts.diagonal().double()
        union = self.counts.sum(dim=0) + self.counts.sum(dim=1) - self.counts.diagonal()
        return right / union.double()

    @property
    def miou(self) -> float:
        """Mean of the classes that are in the truth or said, in [0, 1]; 0 of no pixel."""
        return float(self.iou.nanmean()) if self.num_pixels else 0.0

    @property
    def chance(self) -> float:
        """Pixel accuracy of whoever says each class as often, at pixels drawn at random."""
        shares = self.counts.double() / max(1, self.num_pixels)
        return float((shares.sum(dim=0) * shares.sum(dim=1)).sum())

    def worst(self, names: Sequence[str], count: int) -> list[tuple[str, float]]:
        """Return the classes of the lowest IoU with it, lowest first, of those that are in the truth."""
        there = torch.nonzero(self.counts.sum(dim=1))[:, 0]
        order = there[self.iou[there].argsort(stable=True)][:count]
        return [(names[n], float(self.iou[n])) for n in order.tolist()]
