"""A store grows: the segments of more crops, and of more images, that are begun in its folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.errors import StoreError
from fkd.format import StoreSpec, library_versions, now, plan_layout
from fkd.images import ImageList
from fkd.store.segment import Segment, segment_name
from fkd.store.writer import create_segment


def begin_crops(
    folder: Path, root: Segment, segments: list[Segment], num_crops: int, number: int
) -> bool:
    """Begin segment `number` of a store, with more crops of some images; say whether any are missing.

    `root` is the store's first segment, and `segments` are those that these images have. Raises
    `StoreError` where they have more crops.
    """
    first, last = segments[0].spec, segments[-1]
    if last.crops.stop > num_crops:
        raise StoreError(
            f"{folder} has {last.crops.stop} crops an image, more than --crops {num_crops}; `fkd copy "
            f"--crops {num_crops}` writes a smaller store"
        )
    missing = num_crops - last.crops.stop
    if missing:
        wanted = _added(first, root, num_crops=missing, first_crop=last.crops.stop)
        create_segment(folder / segment_name(number), plan_layout(wanted, first.block_images))
    return missing > 0


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
