"""Reading from a store's arrays: what is handed out has a seal, a good checksum and possible values.

A store may be damaged, or made by a stranger. What a file claims is compared with the store's attributes
before it is decompressed; after that, its values are compared with what a labeller can write.
"""

from collections.abc import Iterable
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkd.errors import BlockError, StoreError, codec_words, first_line
from fkd.labels import StoredArray
from fkd.store.block_files import IMPLAUSIBLE_REMEDY, WHOLE_REMEDY, BlockFiles
from fkd.store.layout import array_layouts
from fkd.store.packing import unpack_boxes, unpack_codes, unpack_ids, unpack_palettes, unpack_slots
from fkd.store.slabs import Slab, StoredCrops
from fkd.store.spec import StoreSpec
from fkd.store.zarr_arrays import Arrays
from fkd.views import OTHER_VIEWS, SAMPLERS, Boxes, Flips, Sizes, hash_views, outside

# Blocks that are read by one call: enough to spread zarr's cost a call, few enough that what is decoded
# on the way to a slab (palettes above all) stays below 100 MB.
_BLOCKS_AT_ONCE = 8
_PART_BYTES = 2**28


class Reader:
    """Reads parts of a store's arrays; `seals` has the SHA-256 of every block that may be read."""

    def __init__(self, path: Path, spec: StoreSpec, arrays: Arrays, files: BlockFiles) -> None:
        """Read the seals of all blocks; `torn_seals` says what is wrong with damaged ones."""
        self.path, self.spec = path, spec
        self._arrays, self._files = arrays, files
        self._layouts = array_layouts(spec)
        self._targets: NDArray[np.int64] | None = None
        self._compared: set[int] = set()
        self._drawn: set[tuple[int, int]] = set()
        self.seals, self.torn_seals = files.read_seals()

    def require_seals(self) -> None:
        """Raise `BlockError` where a block's seal is damaged."""
        for error in self.torn_seals.values():
            raise error

    def run(self, blocks: range, crops: slice) -> Slab:
        """Read a run of crops of all images of some blocks, few blocks at a time.

        The files of a block are compared with its seal when it is first read, since a file of another
        block has good checksums too. Raises `BlockError` for those, and for values that no labeller
        writes.
        """
        images = self._images(blocks)
        return self.images(range(images.start, images.stop), crops)

    def images(self, images: range, crops: slice) -> Slab:
        """Read a run of crops of a run of images, as `run` does."""
        slabs, size, targets = [], self.spec.block_images, self.targets()
        step = self._blocks_at_once() * size
        between = range((images.start // step + 1) * step, images.stop, step)
        for start, stop in pairwise([images.start, *between, images.stop]):
            within = range(start // size, -(-stop // size))
            self.require_sealed(within)
            stored = self.part(slice(start, stop), crops)
            if not self.spec.stores_views:
                self._require_drawn(within, crops, stored, start)
            self._require_plausible(stored, start)
            own = np.full(stop - start, -1) if targets is None else targets[start:stop]
            slabs.append(stored.of_classes(own))
        return Slab.concatenate(slabs)

    def _blocks_at_once(self) -> int:
        chunks = [layout.chunk_bytes for layout in self._layouts.values() if layout.by_block]
        return max(1, min(_BLOCKS_AT_ONCE, _PART_BYTES // max(chunks)))

    def require_sealed(self, blocks: Iterable[int]) -> None:
        """Raise `BlockError` for a block whose files are not those that were sealed; look once."""
        for number in blocks:
            if number in self._compared:
                continue
            try:
                what = self._files.unlike_seal(number, self.seals[number])
            except OSError as error:
                what = f"cannot be read ({first_line(error)})"
                raise BlockError(self.path, number, what, lost=False) from error
            if what:
                raise self._damage(number) or BlockError(self.path, number, what)
            self._compared.add(number)

    def _damage(self, number: int) -> BlockError | None:
        """Return the error that names the damaged array of a block, if one cannot be read."""
        try:
            self.part(self._images(range(number, number + 1)), slice(0, self.spec.num_crops))
        except BlockError as error:
            return error
        except StoreError:
            return None
        return None

    def _images(self, blocks: range) -> slice:
        first, last = self.spec.block_range(blocks[0]), self.spec.block_range(blocks[-1])
        return slice(first.start, last.stop)

    def part(self, images: slice, crops: slice) -> StoredCrops:
        """Read crops of images of few blocks, whatever their values."""
        kept: dict[str, StoredArray] = {}
        for field in self.spec.labels.fields:
            match field.packing:
                case "ids" | "draws":
                    slot, used = self._slots(images, crops)
                    if self._palettes_are_large(used, len(slot)):
                        middle = images.start + len(slot) // 2
                        halves = slice(images.start, middle), slice(middle, images.stop)
                        return StoredCrops.concatenate([self.part(half, crops) for half in halves])
                    palette = self.read("palette", images, slice(0, used))
                    if field.packing == "draws":
                        palette = unpack_palettes(palette, self.spec.num_classes)
                    kept[field.name] = unpack_ids(palette, slot)
                case "codes":
                    kept[field.name] = unpack_codes(self.read(field.name, images, crops))
                case "dense":
                    kept[field.name] = self.read(field.name, images, crops)
        size = self.read("size", images)
        return StoredCrops(*self._views(images, crops, size), size, kept)

    def _views(self, images: slice, crops: slice, size: Sizes) -> tuple[Boxes, Flips]:
        """Read the boxes and flips of crops, or draw them where they are not stored."""
        if (spec := self.spec).stores_views:
            box = unpack_boxes(self.read("box", images, crops), size)
            return box, self.read("flip", images, crops)
        drawn = np.arange(images.start, images.stop), np.arange(*crops.indices(spec.num_crops))
        return SAMPLERS[spec.sampler].draw(spec.views, *drawn, size)

    def _require_drawn(
        self, blocks: Iterable[int], crops: slice, had: StoredCrops, first_image: int
    ) -> None:
        """Raise `BlockError` unless views are drawn as they were labelled; look at a chunk once.

        `had` are the `crops` of images from `first_image` on. What they lack of a chunk is drawn.
        """
        spec, (start, stop, _) = self.spec, crops.indices(self.spec.num_crops)
        chunks = range(start // spec.chunk_crops, -(-stop // spec.chunk_crops))
        new = [at for at in product(blocks, chunks) if at not in self._drawn]
        hashes = {number: self.view_hashes(number) for number in {number for number, _ in new}}
        for number, chunk in new:
            images, first = self._images(range(number, number + 1)), chunk * spec.chunk_crops
            whole = slice(first, min(first + spec.chunk_crops, spec.num_crops))
            views = had.views_from(first_image, start, images, whole)
            box, flip = views or self._views(images, whole, self.read("size", images))
            if hash_views(box, flip, spec.chunk_crops)[0] != hashes[number][chunk]:
                raise BlockError(self.path, number, f"{OTHER_VIEWS} (from crop {first} on)")
            self._drawn.add((number, chunk))

    def view_hashes(self, number: int) -> NDArray[np.uint64]:
        """Read the hash of each chunk of a block's boxes and flips, u64."""
        row: NDArray[np.uint64] = self.read("view_hash", slice(number, number + 1))
        return row.reshape(-1)

    def _slots(self, images: slice, crops: slice) -> tuple[StoredArray, int]:
        """Read places in the images' palettes, [n, m, K], and return how long a palette they need."""
        slot = unpack_slots(self.read("slot", images, crops), self.spec.slots)
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
        labels = self.spec.labels
        if labels.fault(crops.kept):
            for row in range(len(crops.size)):
                fault = labels.fault({name: v[row : row + 1] for name, v in crops.kept.items()})
                if fault:
                    raise self.implausible(first_image + row, fault[1])

    def implausible(self, image_index: int, what: str) -> BlockError:
        """Return the error for an image whose labels are impossible."""
        number, what = image_index // self.spec.block_images, f"image {image_index}: {what}"
        return BlockError(self.path, number, what, remedy=IMPLAUSIBLE_REMEDY)

    def whole(self, name: str) -> StoredArray:
        """Read an array that is not cut into blocks; a lost one is an error, never zeros."""
        self._files.require_whole(name)
        return self.read(name, slice(None))

    def read(self, name: str, *selection: slice) -> StoredArray:
        """Read part of an array; a damaged or missing object is an error that names its block."""
        blocks: list[int] = []
        if self._layouts[name].by_block:
            first, stop, _ = selection[0].indices(self._layouts[name].shape[0])
            size = self._layouts[name].block_rows
            blocks = [n for n in range(first // size, -(-stop // size)) if n in self.seals]
            self._files.require(name, blocks)
        try:
            return self._values(name, *selection)
        except StoreError:
            raise
        except (MemoryError, OSError) as error:
            what = f"array '{name}' cannot be read now ({first_line(error)})"
            raise self._error(blocks[:1], what, lost=False) from error
        except Exception as error:  # codecs raise whatever they like on damaged bytes
            damaged = [n for n in blocks if not self._decodes(name, n, selection[1:])]
            what = f"array '{name}' is damaged ({codec_words(error)})"
            raise self._error(damaged[:1], what) from error

    def _values(self, name: str, *selection: slice) -> StoredArray:
        """Read part of an array as it is; of one without shards, rows alone are selected."""
        layout = self._layouts[name]
        if layout.shards is not None:
            return np.asarray(self._arrays[name][selection])
        first, stop, _ = selection[0].indices(layout.shape[0])
        size = layout.chunks[0]
        numbers = range(first // size, -(-stop // size))
        rows = np.concatenate([self._files.values(name, n) for n in numbers])
        return rows[first - numbers.start * size : stop - numbers.start * size]

    def _error(self, blocks: list[int], what: str, *, lost: bool = True) -> StoreError:
        for number in blocks:
            return BlockError(self.path, number, what, lost=lost)
        return StoreError(f"{self.path}: {what}; {WHOLE_REMEDY}")

    def _decodes(self, name: str, number: int, rest: tuple[slice, ...]) -> bool:
        size = self._layouts[name].block_rows
        try:
            self._values(name, slice(number * size, (number + 1) * size), *rest)
        except Exception:  # as above
            return False
        return True

    def targets(self) -> NDArray[np.int64] | None:
        """Return the class id of every image's folder, int64 [N]; None where images have no classes."""
        if self.spec.unlabelled:
            return None
        if self._targets is None:
            targets = self.whole("target").astype(np.int64)
            if targets.max() >= self.spec.num_classes:
                raise StoreError(
                    f"{self.path}: class {targets.max()} of an image is not below "
                    f"{self.spec.num_classes}; do not use this store"
                )
            self._targets = targets
        return self._targets
