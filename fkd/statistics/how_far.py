"""How far a store is labelled. It needs no torch, so that `fkd info` does not."""

import numpy as np
from numpy.typing import NDArray

from fkd.store import LabelStore


def reached(store: LabelStore) -> NDArray[np.bool_]:
    """Return whether each image has its first crops labelled, bool [N]; in a finished store all have."""
    return store.finished_crops() > 0


def num_finished(store: LabelStore) -> int:
    """Return how many crops all images have that have any: M where the store is not growing."""
    finished = store.finished_crops()
    return int(finished[finished > 0].min(initial=store.spec.num_crops))
