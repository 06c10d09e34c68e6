"""Which classes maps of labels name: at how many positions, in how many crops, and how surely."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from fkd.config import Grid
from fkd.format import StoreSpec
from fkd.statistics.measured import MeasuredCrops


@dataclass(frozen=True)
class PositionStatistics:
    """Numbers by class over the positions of maps, for the n classes that are the top-1 at some.

    A map has a `grid` (h, w) of them. `class_id` int64 [n] rises. `share` f64 [n] is the share of all
    positions whose top-1 is that class, `crops` f64 [n] the share of crops with such a position, and
    `top_probability` f64 [n] the mean of what it has there, None where no values are kept.
    """

    grid: Grid
    class_id: NDArray[np.int64] = field(repr=False)
    share: NDArray[np.float64] = field(repr=False)
    crops: NDArray[np.float64] = field(repr=False)
    top_probability: NDArray[np.float64] | None = field(repr=False)


class PositionTally:
    """Counts by class over the crops so far."""

    def __init__(self, spec: StoreSpec) -> None:
        self._grid, self._num_classes = spec.grid, spec.num_classes
        self._keeps_values = spec.labels.keeps_values
        # Positions of each class, sum of their top probabilities, crops with one at least.
        self._positions, self._sums, self._crops = np.zeros((3, spec.num_classes))
        self._num_crops = 0

    def add(self, crops: MeasuredCrops) -> None:
        """Count crops of a piece of the sweep."""
        top, num_crops = crops.top_class, len(crops.area)
        self._positions += self._counted(top)
        if crops.top_probability is not None:
            self._sums += self._counted(top, crops.top_probability.double())
        number = torch.arange(num_crops).repeat_interleave(len(top) // num_crops)
        pairs = torch.unique(number * self._num_classes + top)
        self._crops += self._counted(pairs % self._num_classes)
        self._num_crops += num_crops

    def _counted(
        self, classes: torch.Tensor, weights: torch.Tensor | None = None
    ) -> NDArray[np.float64]:
        counts = torch.bincount(classes, weights, minlength=self._num_classes)
        return counts.double().numpy()

    def finish(self) -> PositionStatistics:
        """Turn counts into shares and means."""
        class_id = np.flatnonzero(self._positions)
        positions = self._positions[class_id]
        return PositionStatistics(
            self._grid,
            class_id,
            positions / self._positions.sum(),
            self._crops[class_id] / self._num_crops,
            self._sums[class_id] / positions if self._keeps_values else None,
        )
