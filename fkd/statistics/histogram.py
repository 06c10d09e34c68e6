"""Counts of a great many numbers, filled piece by piece: what a distribution needs and no more."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BINS = 1000


@dataclass
class Histogram:
    """Numbers between `low` and `high` in equal bins: `counts` int64 [1000], and their sum.

    Numbers outside, which only rounding makes, count in the first or the last bin.
    """

    low: float
    high: float
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64), repr=False)
    total: float = 0.0

    def add(self, values: Tensor) -> None:
        """Count f32 [B]; none of them may be NaN."""
        scale = BINS / (self.high - self.low)
        bins = ((values - self.low) * scale).int().clamp_(0, BINS - 1)
        self.counts += torch.bincount(bins, minlength=BINS).numpy()
        self.total += values.sum(dtype=torch.float64).item()

    @property
    def count(self) -> int:
        """How many numbers were counted."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Their mean, exact."""
        return self.total / max(1, self.count)

    def quantile(self, share: float) -> float:
        """Return the number that `share` of all lie below, to a bin's width."""
        below = np.concatenate([[0], self.counts.cumsum()])
        edges = np.linspace(self.low, self.high, BINS + 1)
        stop = int(np.searchsorted(below, share * below[-1], side="left"))
        first = max(0, stop - 1)
        inside = (share * below[-1] - below[first]) / max(1, self.counts[min(first, BINS - 1)])
        return float(edges[first] + inside * (edges[1] - edges[0]))

    def shares(self, bins: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the edges, f64 [bins + 1], and the share of all numbers in each of fewer bins, f64.

        `bins` must divide 1000.
        """
        counts = self.counts.reshape(bins, -1).sum(axis=1)
        return np.linspace(self.low, self.high, bins + 1), counts / max(1, self.count)
