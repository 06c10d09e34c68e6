"""Reading from a store's arrays: what is handed out has a seal, a checksum, and values that can be.

A store may be damaged, or made by a stranger. What a file claims is compared with the store's attributes
before it is decompressed, and what it holds with what a labeller can have written after that.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.arrays import Arrays
from fkd.blocks import REMEDY, WHOLE_REMEDY, BlockFiles
from fkd.errors import StoreError, first_line
from fkd.layout import StoreSpec, array_layouts
from fkd.packing import unpack_boxes, unpack_codes, unpack_ids
from fkd.sanity import label_fault, outside
from fkd.slabs import Slab

Array = NDArray[Any]

# Blocks that are read by one call: enough to spread zarr's fixed cost a call, few enough that what
# is decoded on the way to a slab (palettes above all) stays below 100 MB.
_BLOCKS_AT_ONCE = 8
_PART_BYTES = 2**28


class Reader:
    """Reads parts of a store's arrays; `sealed` bool [blocks] says which blocks may be read."""

    def __init__(self, path: Path, spec: StoreSpec, arrays: Arrays, files: BlockFiles) -> None:
        """Read the seals of all blocks; `torn_seals` says what is wrong with damaged ones."""
        self.path, self.spec = path, spec
        self._arrays, self._files = arrays, files
        self._layouts = array_layouts(spec)
        self._targets: NDArray[np.int64] | None = None
        self.torn_seals: dict[int, str] = {}
        self.seals = self._read_seals()
        self.sealed = np.asarray(self.seals.any(axis=1))

    def require_seals(self) -> None:
        """Raise `StoreError` where a block's seal is damaged."""
        for number, problem in self.torn_seals.items():
            file = self._files.seal_file(number)
            raise StoreError(f"{self.path}: the seal of block {number}, {file} {problem}; {REMEDY}")

    def run(self, blocks: range, crops: slice, *, plausible: bool = True) -> Slab:
        """Read a run of crops of all images of some blocks, few blocks at a time.

        Unless `plausible` is off, a slab that no labeller writes is an error.
        """
        chunks = [layout.chunk_bytes for layout in self._layouts.values() if layout.by_block]
        count = max(1, min(_BLOCKS_AT_ONCE, _PART_BYTES // max(chunks)))
        parts = [blocks[n : n + count] for n in range(0, len(blocks), count)]
        slabs = []
        for part in parts:
            slab = self._part(part, crops)
            if plausible:
                self._require_plausible(slab, self._images(part))
            slabs.append(slab)
        return Slab.concatenate(slabs)

    def _images(self, blocks: range) -> slice:
        first, last = self.spec.block_range(blocks[0]), self.spec.block_range(blocks[-1])
        return slice(first.start, last.stop)

    def _part(self, blocks: range, crops: slice) -> Slab:
        images = self._images(blocks)
        kept: dict[str, Array] = {}
        if self.spec.scheme.kind == "full":
            kept["log_prob"] = self.read("log_prob", images, crops)
        else:
            slot = self.read("slot", images, crops)
            used, palette = int(slot.max()) + 1, self._layouts["palette"]
            if used > palette.shape[1]:
                raise self.implausible(images, f"a slot is {used - 1:,}, past the palette")
            palettes = used * len(slot) * np.dtype(palette.dtype).itemsize
            if palettes > _PART_BYTES and len(blocks) > 1:
                halves = blocks[: len(blocks) // 2], blocks[len(blocks) // 2 :]
                return Slab.concatenate([self._part(half, crops) for half in halves])
            kept["index"] = unpack_ids(self.read("palette", images, slice(0, used)), slot)
        if "code" in self._arrays:
            kept["code"] = unpack_codes(self.read("code", images, crops))
        size = self.read("size", images)
        return Slab(
            unpack_boxes(self.read("box", images, crops), size),
            self.read("flip", images, crops),
            size,
            self.targets()[images],
            kept,
        )

    def _require_plausible(self, slab: Slab, images: slice) -> None:
        """Refuse what no labeller writes: the labels of strangers may hold anything."""
        beyond = outside(slab.box, slab.size)
        if beyond.any():
            row = int(beyond.any(axis=1).argmax())
            raise self.implausible(
                slice(images.start + row, images.start + row + 1), "a box leaves its image"
            )
        wrong = label_fault(slab.kept, self.spec.num_classes)
        if wrong:
            raise self.implausible(images, wrong)

    def implausible(self, images: slice, what: str) -> StoreError:
        """Return the error that names a block whose values cannot be."""
        first, last = (n // self.spec.block_images for n in (images.start, images.stop - 1))
        where = f"block {first}" if first == last else f"blocks {first} to {last}"
        if images.stop - images.start == 1:
            where += f", image {images.start}"
        return StoreError(
            f"{self.path}: {where}: {what}, which no labeller writes; do not use this store"
        )

    def whole(self, name: str) -> Array:
        """Read an array that the store has once; one that is lost is an error, never zeros."""
        self._files.require_whole(name)
        return self.read(name, slice(None))

    def read(self, name: str, *selection: slice) -> Array:
        """Read part of an array; a damaged or missing object is an error that names its block."""
        if self._layouts[name].by_block:
            first, stop, _ = selection[0].indices(self.spec.num_images)
            size = self.spec.block_images
            numbers = range(first // size, -(-stop // size))
            self._files.require(name, [n for n in numbers if self.sealed[n]])
        try:
            return np.asarray(self._arrays[name][selection])
        except Exception as error:  # codecs raise whatever they like on damaged bytes
            raise StoreError(self._name_damage(name, selection, error)) from error

    def _name_damage(self, name: str, selection: tuple[slice, ...], error: Exception) -> str:
        """Find the block that cannot be read, for the message."""
        where, remedy = f"array '{name}'", WHOLE_REMEDY
        for number in range(self.spec.num_blocks) if self._layouts[name].by_block else ():
            block = self.spec.block_range(number)
            try:
                self._arrays[name][(slice(block.start, block.stop), *selection[1:])]
            except Exception:  # as above
                where, remedy = f"block {number}, array '{name}'", REMEDY
                break
        return f"{self.path}: {where} is damaged ({_words(error)}); {remedy}"

    def _read_seals(self) -> Array:
        """Return the rows of `done`, u8 [blocks, 32], zeros for blocks that are not done.

        Fills `torn_seals` with those that are damaged. A seal without bytes is none: a power cut came
        first.
        """
        seals = np.zeros(self._layouts["done"].shape, np.uint8)
        there = []
        for number in range(self.spec.num_blocks):
            file = self._files.seal_file(number)
            if not file.is_file() or file.stat().st_size == 0:
                continue
            problem = self._files.problem("done", file)
            if problem is None:
                there.append(number)
            else:
                self.torn_seals[number] = problem
        if len(there) == self.spec.num_blocks:
            with suppress(Exception):  # as below, where it is found out which
                return np.asarray(self._arrays["done"][:])
        for number in there:
            try:
                seals[number] = self._arrays["done"][number]
            except Exception as error:  # codecs raise whatever they like on damaged bytes
                self.torn_seals[number] = f"is damaged ({_words(error)})"
        return seals

    def targets(self) -> NDArray[np.int64]:
        """Return the class id of every image's folder, int64 [N]."""
        if self._targets is None:
            targets = self.whole("target").astype(np.int64)
            if targets.max() >= self.spec.num_classes:
                raise StoreError(
                    f"{self.path}: class {targets.max()} of an image is not below "
                    f"{self.spec.num_classes}; do not use this store"
                )
            self._targets = targets
        return self._targets


def _words(error: Exception) -> str:
    """Say what a codec raised, without the bytes that it quotes."""
    text = first_line(error)
    return "its checksum is wrong" if "checksum" in text else text
