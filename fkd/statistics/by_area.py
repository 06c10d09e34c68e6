"""How sure the teacher is, and how often it names the image's class, by a crop's share of its image."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from fkd.format import (
    StoreSpec,
)
from fkd.statistics.histogram import BINS, Histogram
from fkd.statistics.measured import MeasuredCrops

_AREAS = 12
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class AreaStatistics:
    """Numbers by the share of its image that a crop's box covers, in b equal bins of the drawn scale.

    `edges` f64 [b + 1]; crops beyond them count in the first or last bin. `crops` is int64 [b];
    `agreement` f64 [b] is the share of crops whose top-1 is the image's class, None where images have no
    classes or labels no top-1. Of the top probability,
    `mean` is f64 [b] and `quantiles` f64 [5, b] are those of 5, 25, 50, 75 and 95 % of the crops; both
    are None where no values are kept. Numbers of a bin without crops are NaN. Of maps the top
    probability of a crop is the mean over its positions.
    """

    edges: NDArray[np.float64] = field(repr=False)
    crops: NDArray[np.int64] = field(repr=False)
    agreement: NDArray[np.float64] | None = field(repr=False)
    mean: NDArray[np.float64] | None = field(repr=False)
    quantiles: NDArray[np.float64] | None = field(repr=False)


class AreaTally:
    """Counts by area over the crops so far."""

    def __init__(self, spec: StoreSpec) -> None:
        self._low, self._high = spec.views.scale
        self._bins = _AREAS if self._high - self._low > 1e-3 else 1
        self._keeps_values = spec.labels.keeps_values
        self._classes = not (spec.unlabelled or spec.grid) and spec.labels.keeps_first
        self._crops, self._agreeing, self._sums = np.zeros((3, self._bins))
        self._top = np.zeros((self._bins, BINS), np.int64)

    def add(self, crops: MeasuredCrops) -> None:
        """Count crops of a piece of the sweep."""
        crops = crops.by_crop
        width = (self._high - self._low) / self._bins
        place = (
            ((crops.area - self._low) / max(width, 1e-9)).floor().clamp(0, self._bins - 1).long()
        )
        self._crops += self._summed(place, torch.ones(len(place)))
        if crops.agrees is not None:
            self._agreeing += self._summed(place, crops.agrees)
        top = crops.top_probability
        if top is not None:
            self._sums += self._summed(place, top)
            fine = place * BINS + (top * BINS).long().clamp_(0, BINS - 1)
            counts = torch.bincount(fine, minlength=self._bins * BINS)
            self._top += counts.view(self._bins, BINS).numpy()

    def _summed(self, place: torch.Tensor, values: torch.Tensor) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = torch.bincount(
            place, values.double(), minlength=self._bins
        ).numpy()
        return sums

    def finish(self) -> AreaStatistics:
        """Turn sums into means, and counts into quantiles."""
        crops = np.where(self._crops > 0, self._crops, np.nan)
        mean = quantiles = None
        if self._keeps_values:
            mean = self._sums / crops
            found = [Histogram(0.0, 1.0, counts) for counts in self._top]
            quantiles = np.array([[top.quantile(share) for top in found] for share in QUANTILES])
            quantiles[:, np.isnan(crops)] = np.nan
        edges = np.linspace(self._low, self._high, self._bins + 1)
        agreement = self._agreeing / crops if self._classes else None
        return AreaStatistics(edges, self._crops.astype(np.int64), agreement, mean, quantiles)
