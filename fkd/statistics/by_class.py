"""How often the teacher names an image's class, and how sure it is, by class."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from fkd.statistics.measured import MeasuredCrops


@dataclass(frozen=True)
class ClassStatistics:
    """Numbers by the images' class, for the n classes that have labelled images.

    `class_id` and `crops` are int64 [n]; `agreement`, the share of crops whose top-1 is that class, is
    f64 [n], and so are the means `top_probability` and `entropy`, None where no values are kept.
    """

    class_id: NDArray[np.int64] = field(repr=False)
    crops: NDArray[np.int64] = field(repr=False)
    agreement: NDArray[np.float64] = field(repr=False)
    top_probability: NDArray[np.float64] | None = field(repr=False)
    entropy: NDArray[np.float64] | None = field(repr=False)


class ClassTally:
    """Sums by class over the crops so far: `crops` and `agreeing` are f64 [C]."""

    def __init__(self, num_classes: int, keeps_values: bool) -> None:
        self._keeps_values = keeps_values
        # Crops, those whose top-1 is their class, sum of top probabilities, sum of entropies.
        self._sums = np.zeros((4, num_classes))
        self.crops, self.agreeing = self._sums[:2]

    def add(self, crops: MeasuredCrops) -> None:
        """Count crops of a piece of the sweep, whose images have classes."""
        assert crops.target is not None
        assert crops.agrees is not None
        measures = [torch.ones(len(crops.target)), crops.agrees]
        if crops.top_probability is not None and crops.entropy is not None:
            measures += [crops.top_probability, crops.entropy]
        for row, measure in zip(self._sums, measures, strict=False):
            weights = measure.double()
            row += torch.bincount(crops.target, weights, minlength=len(row)).numpy()

    @property
    def agreement(self) -> float:
        """The share of all crops whose top-1 is their class."""
        return float(self.agreeing.sum() / self.crops.sum())

    def finish(self) -> ClassStatistics:
        """Turn sums into means."""
        class_id = np.flatnonzero(self.crops)
        crops = self.crops[class_id]
        agreement, top, nats = self._sums[1:, class_id] / crops
        soft = self._keeps_values
        return ClassStatistics(
            class_id,
            crops.astype(np.int64),
            agreement,
            top if soft else None,
            nats if soft else None,
        )
