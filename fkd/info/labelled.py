"""How far a store is labelled: which images are reached, how many crops, which have no labels."""

import numpy as np
from numpy.typing import NDArray

from fkd.images import REASONS
from fkd.store import LabelStore


def reached(store: LabelStore) -> NDArray[np.bool_]:
    """Return whether each image has its first crops labelled, bool [N]; in a finished store all have."""
    return store.finished_crops() > 0


def num_finished(store: LabelStore) -> int:
    """Return how many crops all images have that have any: M where the store is not growing."""
    finished = store.finished_crops()
    return int(finished[finished > 0].min(initial=store.spec.num_crops))


def num_labelled(store: LabelStore) -> tuple[int, int]:
    """Return how many images have been reached by the labeller, and how many of them are unusable."""
    return int(np.count_nonzero(reached(store))), store.num_bad()


def num_crops_labelled(store: LabelStore) -> int:
    """Return how many crops the finished blocks are of; those of unusable images have no labels."""
    return sum(store.block(number).num_labels for number in store.done_blocks())


def bad_images(store: LabelStore) -> list[tuple[str, str]]:
    """Return (path, reason) of every image that has no labels."""
    status, paths = store.status(), store.image_paths()
    return [(paths[int(i)], REASONS[status[i]]) for i in np.flatnonzero(status)]
