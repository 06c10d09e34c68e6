"""The label store on disk (zarr v3): create, open, commit a block, read a slab of crops.

What is not sealed is never read, and what is read has passed a checksum.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fkd.config import as_path
from fkd.errors import BlockError, StoreError, first_line
from fkd.images import REASONS, ImageList, Keys
from fkd.labels import Fidelity, StoredArray, fidelity_fault, mean_fidelity
from fkd.store import zarr_arrays
from fkd.store.attributes import from_attributes
from fkd.store.block_files import IMPLAUSIBLE_REMEDY, BlockFiles
from fkd.store.layout import array_layouts
from fkd.store.reader import Reader
from fkd.store.slabs import Block, Slab
from fkd.store.spec import StoreSpec
from fkd.store.writer import Writer, create_store

# A path with an empty part, "." or ".." leads out of the image folder, or to no image.
_ASTRAY = re.compile(rb"(?:^|[\0/])\.{0,2}(?=[\0/])")


class LabelStore:
    """An open label store. Build one with `LabelStore.open`, or `create` to label into it."""

    def __init__(self, path: Path, spec: StoreSpec, *, writable: bool) -> None:
        """Use `open` or `create`."""
        self.path = path
        self.spec = spec
        self._layouts = array_layouts(spec)
        self._files = BlockFiles(path, self._layouts)
        self._files.require_names("path", spec.num_images)  # bounds all that attributes may claim
        self._files.require_names("class_name", spec.num_classes)
        if spec.class_title_bytes:
            self._files.require_names("class_title", spec.num_classes)
        if writable:
            self._files.require_plain()
        self._arrays = zarr_arrays.Arrays(path, self._layouts, writable=writable)
        self._reader = Reader(path, spec, self._arrays, self._files)
        self._writer = Writer(path, spec, self._arrays, self._files)
        self._require_seals()

    def _require_seals(self) -> None:
        self._reader.require_seals()

    def __repr__(self) -> str:
        spec, name = self.spec, type(self).__name__
        return (
            f"{name}({str(self.path)!r}: {spec.num_images:,} images × {spec.num_crops} crops, "
            f"{spec.scheme}, {spec.num_classes:,} classes)"
        )

    # -- creating and opening -------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: Path,
        spec: StoreSpec,
        images: ImageList,
        targets: NDArray[np.int64] | None,
        class_names: Sequence[str],
        *,
        class_titles: Sequence[str] = (),
        overwrite: bool = False,
    ) -> Self:
        """Create an empty store beside `path` and rename it into place, so it is there whole or not.

        `targets` int64 [N] are class ids of the store, None where it is `unlabelled`; `class_names` are
        their C names, and `class_titles` C names to be read by people, or none. With `overwrite`, it
        replaces the store at `path`, which is then removed.
        """
        create_store(
            path, spec, images, targets, class_names, class_titles=class_titles, overwrite=overwrite
        )
        return cls.open(path, writable=True)

    @classmethod
    def open(cls, path: str | Path, *, writable: bool = False) -> Self:
        """Open a store; raises `StoreError` where there is none or this fkd cannot read it."""
        path = as_path("the store", path)
        try:
            spec = from_attributes(zarr_arrays.read_attributes(path), str(path))
            return cls(path, spec, writable=writable)
        except (MemoryError, OSError) as error:
            raise StoreError(f"{path} cannot be opened ({first_line(error)})") from error

    # -- what it holds --------------------------------------------------------------------------

    def done_blocks(self) -> list[int]:
        """Return the numbers of the blocks that are sealed."""
        return sorted(self._reader.seals)

    def pending_blocks(self) -> list[int]:
        """Return the numbers of the blocks that are not labelled yet."""
        return [n for n in range(self.spec.num_blocks) if n not in self._reader.seals]

    def require_complete(self) -> None:
        """Raise `StoreError` unless every block is labelled."""
        pending = self.pending_blocks()
        if pending:
            raise StoreError(
                f"{self.path} is unfinished: {len(pending)} of {self.spec.num_blocks} blocks are not "
                "labelled; run the same `fkd label` command again to finish it"
            )

    def status(self) -> NDArray[np.uint8]:
        """Return the status of every image, u8 [N]; 0 is labelled (or not reached yet)."""
        status: NDArray[np.uint8] = self._so_far("status")
        if status.max() >= len(REASONS):
            raise self._reader.implausible(int(status.argmax()), f"its status is {status.max()}")
        return status

    def num_bad(self) -> int:
        """Return how many images were found unusable so far."""
        return int(np.count_nonzero(self.status()))

    def labelled_images(self) -> NDArray[np.int64]:
        """Return the indices, int64, of all images of a complete store that have labels."""
        self.require_complete()
        return np.flatnonzero(self.status() == 0)

    def content_hashes(self) -> NDArray[np.uint64] | None:
        """Return the hash of every image's file, u64 [N], 0 for those without labels (yet).

        None for a store of format version 1, which has none.
        """
        return self._so_far("content_hash") if "content_hash" in self._arrays else None

    def sizes(self) -> NDArray[np.uint16]:
        """Return (height, width) of every image, u16 [N, 2], 0 for those without labels (yet)."""
        return self._so_far("size")

    def _so_far(self, name: str) -> StoredArray:
        """Read an array of finished blocks; the rows of others, whose files are no data, are 0."""
        layout, done = self._layouts[name], self.done_blocks()
        if len(done) == self.spec.num_blocks:
            return self._reader.read(name, slice(None))
        values = np.zeros(layout.shape, layout.dtype)
        for first in (number * layout.block_rows for number in done):
            where = slice(first, first + layout.block_rows)
            values[where] = self._reader.read(name, where)
        return values

    def fidelity(self) -> Fidelity | None:
        """Return what labels give up of the teacher's own, on average over all crops (so far).

        None where it is not known: of format 1 and 2, and of labels that came without a teacher's.
        """
        if "fidelity" not in self._arrays:
            return None
        measures, labelled = self._so_far("fidelity"), (self.status() == 0).astype(np.int64)
        counts = np.add.reduceat(labelled, np.arange(self.spec.num_blocks) * self.spec.block_images)
        counts[self.pending_blocks()] = 0
        for number in np.flatnonzero(counts).tolist():
            fault = fidelity_fault(measures[number], self.spec.scheme)
            if fault:
                fault = f"its fidelity: {fault}"
                raise BlockError(self.path, number, fault, remedy=IMPLAUSIBLE_REMEDY)
        return mean_fidelity(measures, counts)

    def targets(self) -> NDArray[np.int64] | None:
        """Return the class id of every image's folder, int64 [N]; None where images have no classes."""
        return self._reader.targets()

    def image_paths(self) -> Keys:
        """Return the key of every image, its path below the image folder, in index order."""
        text = self._reader.whole("path").tobytes()
        astray = _ASTRAY.search(text)
        if astray:
            path = text[: astray.end()].rsplit(b"\0", 2)[-1] + text[astray.end() :].split(b"\0")[0]
            raise StoreError(
                f"{self.path} names an image outside of the image folder ({path!r:.80}); "
                "do not use this store"
            )
        keys = Keys(np.frombuffer(text, np.uint8))
        if len(keys) != self.spec.num_images or text[-1:] != b"\0":
            raise self._miscounted("path", self.spec.num_images)
        return keys

    def num_bytes(self) -> NDArray[np.int64]:
        """Return the file size of every image when it was listed, int64 [N]."""
        return self._reader.whole("num_bytes").astype(np.int64)

    def class_names(self) -> tuple[str, ...]:
        """Return the C class names, in the order of the labels."""
        return self._names("class_name")

    def class_titles(self) -> tuple[str, ...]:
        """Return C names for people to read: the titles that were given, or else the class names."""
        return self._names("class_title" if self.spec.class_title_bytes else "class_name")

    def _names(self, array: str) -> tuple[str, ...]:
        text = self._reader.whole(array).tobytes()
        names = text.decode("utf-8", "surrogateescape").split("\0")
        if len(names) != self.spec.num_classes + 1 or names[-1]:
            raise self._miscounted(array, self.spec.num_classes)
        return tuple(names[:-1])

    def _miscounted(self, array: str, count: int) -> StoreError:
        return StoreError(f"{self.path}: '{array}' does not hold {count:,} names; label anew")

    def stored_bytes(self) -> dict[str, int]:
        """Return the bytes on disk by array, and of all other files as "metadata"."""
        return self._files.stored_bytes()

    def require_lists(self) -> None:
        """Raise `StoreError` where paths, sizes, classes or class names are lost or damaged."""
        _ = self.image_paths(), self.num_bytes(), self.targets()
        _ = self.class_names(), self.class_titles()

    # -- writing --------------------------------------------------------------------------------

    def commit_block(self, number: int, block: Block) -> None:
        """Write a block's shards, sync them, and only then seal it as done."""
        self._reader.seals[number] = self._writer.commit(number, block)

    # -- reading --------------------------------------------------------------------------------

    def read_crops(self, slots: Sequence[int]) -> Slab:
        """Read the crops `slots` (rising by one, wrapping at M) of all images: a pass's slab."""
        self.require_complete()
        wraps = [n for n in range(1, len(slots)) if slots[n] < slots[n - 1]]
        bounds = zip([0, *wraps], [*wraps, len(slots)], strict=True)
        runs = [slice(slots[a], slots[b - 1] + 1) for a, b in bounds]
        blocks = range(self.spec.num_blocks)
        return Slab.concatenate([self._reader.run(blocks, run) for run in runs], axis=1)

    def read_block(self, number: int) -> Slab:
        """Read all crops of one block."""
        return self.read_images(self.spec.block_range(number), self.spec.num_crops)

    def read_images(self, images: range, num_crops: int) -> Slab:
        """Read the first crops of a run of images; the blocks that these lie in must be labelled."""
        size = self.spec.block_images
        for number in range(images.start // size, -(-images.stop // size)):
            if number not in self._reader.seals:
                raise StoreError(
                    f"{self.path}: block {number} is not labelled; run `fkd label` to go on"
                )
        return self._reader.images(images, slice(0, num_crops))
