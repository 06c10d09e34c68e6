"""Which images of a store a run takes: those that have labels, and are in its part."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from fkd.amounts import as_count
from fkd.config import Part
from fkd.errors import ConfigError, StoreError
from fkd.images import in_part
from fkd.store import LabelStore


def chosen_images(part: Part, store: LabelStore) -> NDArray[np.int64]:
    """Return the indices, int64 [n], of the images that a run on a complete store takes, rising.

    They are a function of the store, the part and the files that it names. Raises `ConfigError` for a
    part that does not fit the store, and `StoreError` where no image has labels.
    """
    labelled = store.labelled_images()
    if not len(labelled):
        raise StoreError(f"{store.path} holds no labelled image")
    if part.takes_all:
        return labelled
    of_part = in_part(
        part, store.image_paths(), store.targets(), store.class_names(), str(store.path)
    )
    chosen = labelled[of_part[labelled]]
    if not len(chosen):
        count = as_count(int(np.count_nonzero(of_part)), "image")
        raise ConfigError(f"{part} chooses {count} of {store.path}, none of which has labels")
    return chosen


def part_identity(part: Part, chosen: NDArray[np.int64]) -> str:
    """Say which images `chosen`, int64 [n], are: "all", or their number and a hash over them."""
    if part.takes_all:
        return "all"
    digest = hashlib.sha256(chosen.astype("<i8").tobytes()).hexdigest()
    return f"{as_count(len(chosen), 'image')} (sha256:{digest[:16]})"
