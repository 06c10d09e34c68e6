"""The boxes and flips of a segment: read where they are stored, elsewhere drawn, and verified."""

from collections.abc import Iterable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fkd.arrays import ArrayReader, unpack_boxes
from fkd.errors import BlockError
from fkd.format import StoreSpec
from fkd.store.slabs import StoredCrops
from fkd.views import OTHER_VIEWS, SAMPLERS, Boxes, Flips, Sizes, hash_views


class StoredViews:
    """Reads or draws the views of a segment, of whose images `of_images` has the arrays."""

    def __init__(
        self, where: str, spec: StoreSpec, arrays: ArrayReader, of_images: ArrayReader
    ) -> None:
        self._where, self._spec = where, spec
        self._arrays, self._of_images = arrays, of_images
        self._compared: set[tuple[int, int]] = set()

    def read(self, images: slice, crops: slice, size: Sizes) -> tuple[Boxes, Flips]:
        """Return boxes u16 [n, m, 4] and flips bool [n, m] of crops of images of these sizes."""
        spec = self._spec
        if spec.stores_views:
            box = unpack_boxes(self._arrays.read("box", images, crops), size)
            return box, self._arrays.read("flip", images, crops)
        slots = np.arange(*crops.indices(spec.num_crops)) + spec.first_crop
        return SAMPLERS[spec.sampler].draw(spec.views, self._numbers(images), slots, size)

    def sizes(self, images: slice) -> Sizes:
        """Read the heights and widths of images, u16 [n, 2]."""
        return self._of_images.read("size", images)

    def hashes(self, number: int) -> NDArray[np.uint64]:
        """Read the hash of each chunk of a block's boxes and flips, u64."""
        row: NDArray[np.uint64] = self._arrays.read("view_hash", slice(number, number + 1))
        return row.reshape(-1)

    def require_drawn(
        self, blocks: Iterable[int], crops: slice, had: StoredCrops, first_image: int
    ) -> None:
        """Raise `BlockError` unless views are drawn as they were labelled; look at a chunk once.

        `had` are the `crops` of images from `first_image` on. What they lack of a chunk is drawn.
        """
        spec, (start, stop, _) = self._spec, crops.indices(self._spec.num_crops)
        chunks = range(start // spec.chunk_crops, -(-stop // spec.chunk_crops))
        new = [at for at in product(blocks, chunks) if at not in self._compared]
        hashes = {number: self.hashes(number) for number in {number for number, _ in new}}
        for number, chunk in new:
            images, first = spec.block_rows(number), chunk * spec.chunk_crops
            whole = slice(first, min(first + spec.chunk_crops, spec.num_crops))
            views = had.views_from(first_image, start, images, whole)
            box, flip = views or self.read(images, whole, self.sizes(images))
            if hash_views(box, flip, spec.chunk_crops)[0] != hashes[number][chunk]:
                raise BlockError(self._where, number, f"{OTHER_VIEWS} (from crop {first} on)")
            self._compared.add((number, chunk))

    def _numbers(self, images: slice) -> NDArray[np.int64]:
        """Return the numbers by which the views of images are drawn, int64 [n]."""
        if not self._spec.numbered:
            return np.arange(images.start, images.stop) + self._spec.first_image
        return self._of_images.read("image_number", images).astype(np.int64)
