"""How sure the teacher is: its top probability, the entropy of its labels, and what K classes keep."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from fkd.format import (
    StoreSpec,
)
from fkd.labels import SoftLabels
from fkd.statistics.histogram import Histogram
from fkd.statistics.measured import MeasuredCrops
from fkd.statistics.notable import NotableCrop, Shortlist, least_sure, sure_of_another

_MAX_K = 20  # of the full scheme, which keeps every class


@dataclass(frozen=True)
class KeptMass:
    """Probability of the k most likely classes, k = 1 … K: mean and 5 and 95 % quantile, f64 [K] each."""

    mean: NDArray[np.float64] = field(repr=False)
    low: NDArray[np.float64] = field(repr=False)
    high: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True)
class Certainty:
    """How sure the teacher is: what a store that keeps values can say; entropies are in nats.

    `least_sure` has the crops with the lowest top probability, and `sure_of_another` those with the
    highest whose top-1 is not the image's class (of a mixed view, that of neither image): one crop an
    image. Without classes there are none. Of maps all numbers are of labels, and a crop's top
    probability is the mean over its positions.
    """

    top_probability: Histogram
    entropy: Histogram
    kept_mass: KeptMass
    least_sure: tuple[NotableCrop, ...] = field(repr=False)
    sure_of_another: tuple[NotableCrop, ...] = field(repr=False)

    @property
    def mass_of_five(self) -> float | None:
        """Mean probability of the five most likely classes, None where fewer are kept."""
        mean = self.kept_mass.mean
        return float(mean[4]) if len(mean) > 4 else None

    def __str__(self) -> str:
        """Say in words how flat labels are."""
        words = [
            f"mean entropy {self.entropy.mean:.3f} nats",
            f"mean top probability {self.top_probability.mean:.3f}",
        ]
        if self.mass_of_five is not None:
            words.append(f"the first 5 classes hold {self.mass_of_five:.1%}")
        return ", ".join(words)


class CertaintyTally:
    """What is known of the crops so far, of a store that keeps values."""

    def __init__(self, spec: StoreSpec, num_notable: int) -> None:
        self._top = Histogram(0.0, 1.0)
        self._entropy = Histogram(0.0, max(math.log(spec.num_classes), 1e-6))
        ranks = spec.labels.num_ranks
        if spec.labels.keeps_all:
            ranks = min(_MAX_K, ranks)
        self._mass = [Histogram(0.0, 1.0) for _ in range(ranks)]
        self._least_sure, self._sure_of_another = Shortlist(num_notable), Shortlist(num_notable)

    def add(self, crops: MeasuredCrops) -> None:
        """Count crops of a piece of the sweep."""
        if crops.top_probability is None or crops.entropy is None:
            return
        self._top.add(crops.top_probability)
        self._entropy.add(crops.entropy)
        self._add_mass(crops.labels)
        least_sure(crops.by_crop, self._least_sure)
        sure_of_another(crops.by_crop, self._sure_of_another)

    def _add_mass(self, labels: SoftLabels) -> None:
        value = labels.value
        if labels.index is None:
            value = value.topk(len(self._mass), dim=1).values
        mass = torch.zeros(len(value))
        for rank, histogram in enumerate(self._mass):
            mass += value[:, rank]
            histogram.add(mass)

    def finish(self) -> Certainty:
        """Turn counts into quantiles."""
        low, high = (
            np.array([mass.quantile(share) for mass in self._mass]) for share in (0.05, 0.95)
        )
        kept_mass = KeptMass(np.array([mass.mean for mass in self._mass]), low, high)
        return Certainty(
            self._top,
            self._entropy,
            kept_mass,
            self._least_sure.crops,
            self._sure_of_another.crops,
        )
