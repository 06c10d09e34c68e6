"""Reading from a store's arrays: what is handed out has a seal, a good checksum and possible values.

A store may be damaged, or made by a stranger. What a file claims is compared with the store's attributes
before it is decompressed; after that, its values are compared with what a labeller can write.
"""

from collections.abc import Collection, Iterable
from copy import copy
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64

from fkd.arrays import (
    IMPLAUSIBLE_REMEDY,
    ArrayReader,
    Arrays,
    BlockFiles,
    needed,
    unpack_codes,
    unpack_ids,
    unpack_palettes,
    unpack_slots,
)
from fkd.errors import BlockError, StoreError, first_line
from fkd.format import StoreSpec, array_layouts
from fkd.labels import Field, StoredArray
from fkd.store.cells import CellReader
from fkd.store.slabs import Slab, StoredCrops
from fkd.store.stored_views import StoredViews
from fkd.views import outside

# Blocks that are read by one call: enough to spread zarr's cost a call, few enough that what is decoded
# on the way to a slab (palettes above all) stays below 100 MB.
_BLOCKS_AT_ONCE = 8
_PART_BYTES = 2**28


class Reader:
    """Reads parts of a segment's arrays; `seals` has the SHA-256 of every block that may be read.

    A segment of more crops has the arrays of its images in another one, which `images_in` reads. Both
    have the same images in the same blocks.
    """

    def __init__(
        self,
        where: str,
        spec: StoreSpec,
        arrays: Arrays,
        files: BlockFiles,
        images_in: "Reader | None",
    ) -> None:
        """Read the seals of all blocks; `torn_seals` says what is wrong with damaged ones."""
        self.where, self.spec = where, spec
        self._files, self._layouts = files, array_layouts(spec)
        self._targets: NDArray[np.int64] | None = None
        self._compared: set[int] = set()
        self._of_same_images: set[int] = set()
        self.seals, self.torn_seals = files.read_seals()
        self.arrays = ArrayReader(where, self._layouts, arrays, files, self.seals)
        self._cells = CellReader(spec, self.arrays, self.seals)
        self._of_images = self if images_in is None else images_in
        self.views = StoredViews(where, spec, self.arrays, self._of_images.arrays)
        self._vectors = spec.vectors

    def of_targets(self, names: Collection[str]) -> "Reader":
        """Return a reader of the same segment that reads the vectors of these targets alone."""
        reader = copy(self)
        reader._vectors = {name: self.spec.vectors[name] for name in names}
        if self._of_images is self:
            reader._of_images = reader
        return reader

    @property
    def _fields(self) -> tuple[Field, ...]:
        """The arrays of crops that are read: of labels, and of the vectors that are asked for."""
        wanted = (field for kept in self._vectors.values() for field in kept.fields)
        return (*self.spec.labels.fields, *wanted)

    def require_seals(self) -> None:
        """Raise `BlockError` where a block's seal is damaged."""
        for error in self.torn_seals.values():
            raise error

    def images(self, images: range, crops: range) -> Slab:
        """Read a run of crops of a run of images, few blocks at a time.

        The files of a block are compared with its seal when it is first read, since a file of another
        block has good checksums too. Raises `BlockError` for those, and for values that no labeller
        writes.
        """
        slabs, size, targets = [], self.spec.block_images, self.targets()
        blocks = range(images.start // size, -(-images.stop // size))
        unread = {f.name for f in self.spec.fields} - {f.name for f in self._fields}
        layouts = {name: layout for name, layout in self._layouts.items() if name not in unread}
        self._files.bring(needed(layouts, blocks, images, crops))
        step = self._blocks_at_once() * size
        between = range((images.start // step + 1) * step, images.stop, step)
        for start, stop in pairwise([images.start, *between, images.stop]):
            within = range(start // size, -(-stop // size))
            self.require_sealed(within)
            wanted = slice(crops.start, crops.stop)
            stored = self.part(slice(start, stop), wanted)
            if not self.spec.stores_views:
                self.views.require_drawn(within, wanted, stored, start)
            self._require_plausible(stored, start)
            own = np.full(stop - start, -1) if targets is None else targets[start:stop]
            slabs.append(stored.of_classes(own))
        return Slab.concatenate(slabs)

    def _blocks_at_once(self) -> int:
        chunks = [layout.chunk_bytes for layout in self._layouts.values() if layout.by_block]
        return max(1, min(_BLOCKS_AT_ONCE, _PART_BYTES // max(chunks)))

    def require_sealed(self, blocks: Iterable[int]) -> None:
        """Raise `BlockError` for a block whose files are not those that were sealed; look once.

        A block of which parts are far away is compared once all of it is near: a pass takes a few crops
        of it, which have checksums of their own.
        The images of a segment of more crops must be those that were labelled first, too.
        """
        for number in blocks:
            if number in self._compared:
                continue
            if number not in self.seals:
                raise unlabelled(self.where, number)
            if self._of_images is not self and number not in self._of_same_images:
                self._require_images(number)
                self._of_same_images.add(number)
            if self._files.is_near(number):
                self._compare(number)
                self._compared.add(number)

    def require_compared(self, number: int) -> None:
        """Compare a block with its seal, however far away it is; raises `BlockError`."""
        if number not in self._compared:
            self._compare(number)
            self._compared.add(number)

    def _compare(self, number: int) -> None:
        """Raise `BlockError` where a block's files are not those that were sealed."""
        try:
            what = self._files.unlike_seal(number, self.seals[number])
        except OSError as error:
            what = f"cannot be read ({first_line(error)})"
            raise BlockError(self.where, number, what, lost=False) from error
        if what:
            self._files.forget(number)
            raise self._damage(number) or BlockError(self.where, number, what)

    def _require_images(self, number: int) -> None:
        """Raise `BlockError` unless the images of a block are those that its crops were labelled of."""
        if number not in self._of_images.seals:
            raise unlabelled(self._of_images.where, number)
        self._of_images.require_sealed([number])
        stored = self.arrays.read("image_hash", slice(number, number + 1))
        if int(stored[0]) != self._of_images.image_hash(number):
            what = "its crops are of other images than those that the store has now"
            raise BlockError(self.where, number, what)

    def image_hash(self, number: int) -> int:
        """Return the XXH3 of what a block says of its images: all status, sizes and hashes."""
        images, digest = self.spec.block_rows(number), xxh3_64()
        for name in ("status", "size", "content_hash", "mask_hash", "text_hash"):
            if name in self.arrays:
                values = self.arrays.read(name, images)
                digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
        return digest.intdigest()

    def _damage(self, number: int) -> BlockError | None:
        """Return the error that names the damaged array of a block, if one cannot be read."""
        try:
            self.part(self.spec.block_rows(number), slice(0, self.spec.num_crops))
        except BlockError as error:
            return error
        except StoreError:
            return None
        return None

    def part(self, images: slice, crops: slice) -> StoredCrops:
        """Read crops of images of few blocks, whatever their values."""
        kept = self._cells.read(images, crops)
        for field in self._fields:
            match field.packing:
                case "ids" | "draws":
                    slot, used = self._slots(images, crops)
                    if self._palettes_are_large(used, len(slot)):
                        middle = images.start + len(slot) // 2
                        halves = slice(images.start, middle), slice(middle, images.stop)
                        return StoredCrops.concatenate([self.part(half, crops) for half in halves])
                    palette = self.arrays.read("palette", images, slice(0, used))
                    if field.packing == "draws":
                        palette = unpack_palettes(palette, self.spec.num_classes)
                    kept[field.name] = unpack_ids(palette, slot)
                case "codes":
                    kept[field.name] = unpack_codes(self.arrays.read(field.name, images, crops))
                case "dense" | "planes":
                    kept[field.name] = self.arrays.read(field.name, images, crops)
        size = self.views.sizes(images)
        return StoredCrops(*self.views.read(images, crops, size), size, kept)

    def _slots(self, images: slice, crops: slice) -> tuple[StoredArray, int]:
        """Read places in the images' palettes, [n, m, K], and return how long a palette they need."""
        slot = unpack_slots(self.arrays.read("slot", images, crops), self.spec.slots)
        used = int(slot.max()) + 1
        if used > self._layouts["palette"].shape[1]:
            image = images.start + int(slot.argmax()) // slot[0].size
            raise self.implausible(image, f"a slot is {used - 1:,}, past the palette")
        return slot, used

    def _palettes_are_large(self, used: int, num_images: int) -> bool:
        """Say whether the palettes of more than one block would take too much memory at once."""
        itemsize = np.dtype(self._layouts["palette"].dtype).itemsize
        return used * num_images * itemsize > _PART_BYTES and num_images > self.spec.block_images

    def _require_plausible(self, crops: StoredCrops, first_image: int) -> None:
        """Refuse what no labeller writes: the labels of strangers may hold anything."""
        if self.spec.stores_views and (beyond := outside(crops.box, crops.size)).any():
            row = int(beyond.any(axis=1).argmax())
            raise self.implausible(first_image + row, "a box leaves its image")
        if self._fault(crops.kept):
            for row in range(len(crops.size)):
                fault = self._fault({name: v[row : row + 1] for name, v in crops.kept.items()})
                if fault:
                    raise self.implausible(first_image + row, fault)

    def _fault(self, kept: dict[str, StoredArray]) -> str | None:
        """Say what is wrong with labels or vectors [n, m, …], as far as they were read."""
        fault = self.spec.labels.fault(kept)
        if fault:
            return fault[1]
        found = (vectors.fault(kept) for vectors in self._vectors.values())
        return next((f"its vector: {what}" for what in found if what), None)

    def implausible(self, image_index: int, what: str) -> BlockError:
        """Return the error for an image whose labels are impossible."""
        number, what = image_index // self.spec.block_images, f"image {image_index}: {what}"
        return BlockError(self.where, number, what, remedy=IMPLAUSIBLE_REMEDY)

    def targets(self) -> NDArray[np.int64] | None:
        """Return the class id of every image's folder, int64 [N]; None where images have no classes."""
        if self.spec.unlabelled:
            return None
        if self._of_images is not self:
            return self._of_images.targets()
        if self._targets is None:
            targets = self.arrays.whole("target").astype(np.int64)
            if targets.max() >= self.spec.num_classes:
                raise StoreError(
                    f"{self.where}: class {targets.max()} of an image is not below "
                    f"{self.spec.num_classes}; do not use this store"
                )
            self._targets = targets
        return self._targets


def unlabelled(where: str, number: int) -> StoreError:
    """Return the error for a block that has no labels yet."""
    return StoreError(f"{where}: block {number} is not labelled; run `fkd label` to go on")
