"""Which images a pass visits side by side, where a store's views are mixed in pairs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fkd.loader.schedule import Pairs
from fkd.store import LabelStore, StoredMixes


def pairs_of(store: LabelStore, chosen: NDArray[np.int64]) -> Pairs | None:
    """Return the pairs of a run on the images `chosen`, int64 [N], rising; None where there are none."""
    mixes = StoredMixes.of_store(store)
    return _Pairs(mixes, chosen) if mixes is not None and mixes.in_pairs else None


@dataclass(frozen=True)
class _Pairs:
    """The partners of the images of a run, of which a part of a store may have one alone."""

    mixes: StoredMixes
    chosen: NDArray[np.int64]

    def __call__(self, crop: int) -> NDArray[np.int64]:
        """Return the position of each image's partner in a crop, or its own, int64 [N]."""
        partner = self.mixes.partners(self.chosen, np.array([crop]))[:, 0]
        last = len(self.chosen) - 1
        place = self.chosen.searchsorted(partner).clip(max=last).astype(np.int64)
        found: NDArray[np.int64] = np.where(
            self.chosen[place] == partner, place, np.arange(last + 1)
        )
        return found
