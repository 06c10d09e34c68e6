"""How far a store is labelled. It needs no torch, so that `fkd info` does not."""

import numpy as np
from numpy.typing import NDArray

from fkd.store import LabelStore


def reached(store: LabelStore) -> NDArray[np.bool_]:
    """Return whether the block of each image is labelled, bool [N]; in a finished store all are."""
    sealed = np.ones(store.spec.num_images, np.bool_)
    for number in store.pending_blocks():
        block = store.block(number).images
        sealed[block.start : block.stop] = False
    return sealed
