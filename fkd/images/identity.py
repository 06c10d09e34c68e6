"""The identity of a data set: the keys and sizes of its images, in order.

That an image is the one that was labelled is known by the hash of its content, when it is read.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fkd.images.image_list import ImageList
from fkd.images.keys import Keys, key_order

# Stores keep file sizes in 32 bits; a larger size is kept as this.
MAX_NUM_BYTES = 2**32 - 1


def fingerprint(paths: Sequence[str], num_bytes: NDArray[np.int64]) -> str:
    """Return a SHA-256 over the ordered keys and file sizes: the identity of the images."""
    digest = hashlib.sha256()
    for path, size in zip(paths, num_bytes.tolist(), strict=True):
        digest.update(f"{path}\0{size}\n".encode("utf-8", "surrogateescape"))
    return "sha256:" + digest.hexdigest()


def changed_image(
    stored_paths: Sequence[str], stored_bytes: NDArray[np.int64], images: ImageList
) -> str | None:
    """Name the first image, by its key, that differs from those that were labelled, or return None.

    The order of the two lists does not count.
    """
    stored, listed = Keys.of(stored_paths), Keys.of(images.paths)
    sizes = np.minimum(images.num_bytes, MAX_NUM_BYTES)
    rows = listed.places_of(stored)
    there = np.flatnonzero(rows >= 0)
    others = there[sizes[rows[there]] != stored_bytes[there]].tolist()
    found = {
        stored[at]: f"has {sizes[rows[at]]} bytes, {stored_bytes[at]} when it was labelled"
        for at in others
    }
    found |= {stored[at]: "is missing" for at in np.flatnonzero(rows < 0).tolist()}
    unknown = np.ones(len(listed), np.bool_)
    unknown[rows[there]] = False
    found |= {listed[row]: "is new" for row in np.flatnonzero(unknown)[:1].tolist()}
    first = min(found, key=key_order, default=None)
    return None if first is None else f"{first} {found[first]}"


def in_order_of(keys: Keys, images: ImageList) -> ImageList:
    """Return a list of images in the order of `keys`; those that are not among them come last."""
    listed = Keys.of(images.paths)
    if listed == keys:
        return images
    rows = listed.places_of(keys)
    known = rows[rows >= 0]
    return images.take(np.concatenate([known, np.setdiff1d(np.arange(len(listed)), known)]))
