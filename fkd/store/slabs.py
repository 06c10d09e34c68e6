"""What goes into a store and what comes out: a block of images with all crops, a slab of some crops."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fkd.format import (
    StoreSpec,
)
from fkd.labels import NUM_MEASURES, StoredArray
from fkd.views import Boxes, Flips, Mixes, Sizes


@dataclass
class Block:
    """All that is stored of a run of n images: filled by the labeller, committed whole.

    `box` u16 [n, M, 4] and `flip` bool [n, M] are stored, or a hash of them where the store's sampler
    can draw them again. `size` u16 [n, 2] is (height, width), `status` u8 [n] is 0 for a labelled image
    and else a position in `fkd.images.REASONS`, `content_hash` u64 [n] is of the files, and `kept` has
    the quantized labels [n, M, …].

    In a store of images with masks, `truth_hash` u64 [n] is of the masks' files, and with texts of these.

    In a numbered store, `image_number` u64 [n] are the numbers by which the images' views are drawn.
    A segment of more crops keeps none of the images' own arrays, but `image_hash`, a hash of them.

    Where views are mixed, `mixes` [n, M] say with what, and `partner_content` u64 [n, M] are the content
    hashes of the partners. They are stored, or a hash of them where the store's policy can draw them.

    `fidelity` f32 [6] is the mean of `fkd.labels.row_fidelity` over all labelled crops; NaN where it was
    not measured.
    """

    box: Boxes
    flip: Flips
    size: Sizes
    status: NDArray[np.uint8]
    content_hash: NDArray[np.uint64]
    kept: dict[str, StoredArray]
    fidelity: NDArray[np.float32] = field(
        default_factory=lambda: np.full(NUM_MEASURES, np.nan, np.float32)
    )
    truth_hash: NDArray[np.uint64] | None = None
    image_number: NDArray[np.uint64] | None = None
    mixes: Mixes | None = None
    partner_content: NDArray[np.uint64] | None = None

    @classmethod
    def empty(cls, spec: StoreSpec, number: int) -> "Block":
        """Return a block of zeros, ready to be filled."""
        return cls.of_images(spec, len(spec.block_range(number)))

    @classmethod
    def of_images(cls, spec: StoreSpec, n: int) -> "Block":
        """Return zeros for n images, as for a part of a block."""
        m = spec.num_crops
        return cls(
            np.zeros((n, m, 4), np.uint16),
            np.zeros((n, m), np.bool_),
            np.zeros((n, 2), np.uint16),
            np.zeros(n, np.uint8),
            np.zeros(n, np.uint64),
            spec.empty_fields(n, m),
            truth_hash=np.zeros(n, np.uint64) if spec.truth else None,
            mixes=Mixes.none(np.zeros((n, m), np.int64)) if spec.mixes else None,
            partner_content=np.zeros((n, m), np.uint64) if spec.mixes else None,
        )


@dataclass(frozen=True)
class StoredCrops:
    """m crops of n images as their arrays hold them, whatever the values.

    `box` u16 [n, m, 4], `flip` bool [n, m], `size` u16 [n, 2], `kept` the quantized labels [n, m, …].
    """

    box: Boxes
    flip: Flips
    size: Sizes
    kept: dict[str, StoredArray]

    @staticmethod
    def concatenate(parts: Sequence["StoredCrops"]) -> "StoredCrops":
        """Join crops of different images."""
        return StoredCrops(
            np.concatenate([part.box for part in parts]),
            np.concatenate([part.flip for part in parts]),
            np.concatenate([part.size for part in parts]),
            {name: np.concatenate([part.kept[name] for part in parts]) for name in parts[0].kept},
        )

    def views_from(
        self, first_image: int, first_crop: int, images: slice, crops: slice
    ) -> tuple[Boxes, Flips] | None:
        """Return boxes and flips of images and crops if these, which begin at the first two, have all."""
        rows = slice(images.start - first_image, images.stop - first_image)
        columns = slice(crops.start - first_crop, crops.stop - first_crop)
        num_images, num_crops = self.flip.shape
        if min(rows.start, columns.start) < 0 or rows.stop > num_images or columns.stop > num_crops:
            return None
        return self.box[rows, columns], self.flip[rows, columns]

    def of_classes(self, target: NDArray[np.int64]) -> "Slab":
        """Return these crops as a slab: `target` int64 [n] is the class of each image, -1 for none."""
        return Slab(self.box, self.flip, self.size, target, self.kept)


@dataclass(frozen=True)
class Slab:
    """m crops of n images, as one pass reads them.

    `box` u16 [n, m, 4], `flip` bool [n, m], `size` u16 [n, 2], `kept` the quantized labels [n, m, …].
    `target` int64 [n] is the class of each image's folder, -1 where images have no classes.
    """

    box: Boxes
    flip: Flips
    size: Sizes
    target: NDArray[np.int64]
    kept: dict[str, StoredArray]

    def take(self, rows: NDArray[np.int64], crops: NDArray[np.int64]) -> "Slab":
        """Return the slab of some of the images and some of their crops, in the given orders."""
        both = rows[:, None], crops
        kept = {name: array[both] for name, array in self.kept.items()}
        return Slab(self.box[both], self.flip[both], self.size[rows], self.target[rows], kept)

    @staticmethod
    def concatenate(slabs: Sequence["Slab"], axis: int = 0) -> "Slab":
        """Join slabs along the images (axis 0) or the crops of the same images (axis 1)."""
        first = slabs[0]
        if len(slabs) == 1:
            return first
        per_image = 0 if axis == 0 else None

        def join(arrays: list[StoredArray], along: int | None) -> StoredArray:
            return arrays[0] if along is None else np.concatenate(arrays, along)

        return Slab(
            join([s.box for s in slabs], axis),
            join([s.flip for s in slabs], axis),
            join([s.size for s in slabs], per_image),
            join([s.target for s in slabs], per_image),
            {name: join([s.kept[name] for s in slabs], axis) for name in first.kept},
        )
