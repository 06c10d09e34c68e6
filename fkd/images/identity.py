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
    """Name the first image that differs from the list that was labelled, or return None."""
    sizes = np.minimum(images.num_bytes, MAX_NUM_BYTES)
    if Keys.of(stored_paths) == Keys.of(images.paths) and np.array_equal(stored_bytes, sizes):
        return None
    stored = zip(stored_paths, stored_bytes.tolist(), strict=True)
    current = zip(images.paths, sizes.tolist(), strict=True)
    for (path, size), (now_path, now_size) in zip(stored, current, strict=False):
        if path != now_path:
            missing = key_order(path) < key_order(now_path)
            return f"{path} is missing" if missing else f"{now_path} is new"
        if size != now_size:
            return f"{path} has {now_size} bytes, {size} when it was labelled"
    if len(stored_paths) > len(images):
        return f"{stored_paths[len(images)]} is missing"
    return f"{images.paths[len(stored_paths)]} is new"
