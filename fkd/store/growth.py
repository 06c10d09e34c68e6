"""A store grows: the segments of more crops, and of more images, that are begun in its folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.amounts import as_count
from fkd.config import MAX_CROPS
from fkd.errors import StoreError
from fkd.format import VIEW_BYTES, StoreSpec, library_versions, now, plan_layout
from fkd.images import ImageList
from fkd.store.segment import Segment, segment_name
from fkd.store.writer import create_segment

# Bytes of a block of dense labels, as those of a new store are planned too, and the crops that a segment
# adds at least.
_BLOCK_BYTES = 256 * 2**20
_LEAST_ADDED = 4


def begin_crops(
    folder: Path, root: Segment, segments: list[Segment], num_crops: int, number: int
) -> int:
    """Begin segments of a store from `number` on, with more crops of some images; return the next number.

    `root` is the store's first segment, and `segments` are those that these images have. Dense labels
    and vectors of many crops are cut into several segments, so that a block fits in memory. Raises
    `StoreError` where the images have more crops.
    """
    first, last = segments[0].spec, segments[-1]
    if last.crops.stop > num_crops:
        raise StoreError(
            f"{folder} has {as_count(last.crops.stop, 'crop')} an image, more than --crops {num_crops}; "
            f"`fkd copy --crops {num_crops}` writes a smaller store"
        )
    step = _most_added(first)
    for begin in range(last.crops.stop, num_crops, step):
        count = min(step, num_crops - begin)
        wanted = _added(first, root, num_crops=count, first_crop=begin)
        create_segment(folder / segment_name(number), plan_layout(wanted, first.block_images))
        number += 1
    return number


def _most_added(spec: StoreSpec) -> int:
    """Return how many crops a segment may add to images in the blocks of `spec`."""
    if not spec.dense_bytes:
        return MAX_CROPS
    crop_bytes = spec.block_images * (spec.dense_bytes + VIEW_BYTES)
    return max(_LEAST_ADDED, _BLOCK_BYTES // crop_bytes)


def begin_images(
    folder: Path,
    whole: StoreSpec,
    root: Segment,
    images: ImageList,
    targets: NDArray[np.int64] | None,
    fingerprint: str,
    number: int,
) -> None:
    """Begin segment `number` of a store, of all crops of more images; see `LabelStore.add_images`."""
    wanted = _added(
        root.spec,
        root,
        num_crops=whole.num_crops,
        num_images=len(images),
        first_image=whole.num_images,
        fingerprint=fingerprint,
    )
    create_segment(folder / segment_name(number), plan_layout(wanted), images, targets)


def _added(spec: StoreSpec, root: Segment, **changes: Any) -> StoreSpec:
    """Return the spec of what is added now to a store, of which `spec` is a segment."""
    return replace(spec, root=root.digest, versions=library_versions(), created=now(), **changes)
