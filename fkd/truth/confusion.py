"""What is said at each pixel, counted against the truth: pixel accuracy, and intersection over union.

Legend: C classes, n pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fkd.config import IGNORED

# Where `bincount` is the fastest. On a GPU it looks for the largest number first, and waits for it.
_COUNTED_AT_ONCE = ("cpu",)


class Confusion:
    """How many pixels of each class are taken for each.

    Pixels of no class are left out. They are counted on a `device`, for which nothing waits.
    """

    def __init__(self, num_classes: int, device: torch.device | None = None) -> None:
        """Begin with no pixel counted."""
        self._num_classes = num_classes
        # Pair by pair, and last the pixels of no class.
        self._flat = torch.zeros(num_classes**2 + 1, dtype=torch.int64, device=device)

    def add(self, said: Tensor, truth: Tensor) -> None:
        """Count what is `said`, numbers of classes of any shape, against `truth`, uint8 of the same.

        Both are on the device.
        """
        pairs = truth.long() * self._num_classes + said
        pairs = pairs.masked_fill_(truth == IGNORED, self._num_classes**2).flatten()
        if pairs.device.type in _COUNTED_AT_ONCE:
            self._flat += pairs.bincount(minlength=len(self._flat))
        else:
            self._flat.scatter_add_(0, pairs, torch.ones_like(pairs[:1]).expand_as(pairs))

    @property
    def counts(self) -> Tensor:
        """How often each class is taken for each, int64 [C, C] on the CPU, truth by row."""
        return self._flat[:-1].view(self._num_classes, -1).cpu()

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
