"""The label store on disk (zarr v3): create, open, commit a block, read a slab of crops.

What is not sealed is never read, and what is read has passed a checksum.
"""

from bisect import bisect
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fkd.amounts import as_count
from fkd.config import Url, as_place
from fkd.errors import StoreError, first_line
from fkd.files import Folder, files_at
from fkd.format import (
    StoreSpec,
    read_attributes,
)
from fkd.images import ImageList
from fkd.store.facts import StoredFacts
from fkd.store.growth import begin_crops, begin_images
from fkd.store.segment import BlockPlace, Segment, open_segments, whole_spec
from fkd.store.slabs import Block, Slab
from fkd.store.writer import ClassWords, create_store, require_plain
from fkd.vectors import Constants


class LabelStore(StoredFacts):
    """An open label store. Build one with `LabelStore.open`, or `create` to label into it."""

    def __init__(
        self, path: Path | Url, segments: Sequence[Segment], most_crops: int | None = None
    ) -> None:
        """Use `open`, `create` or `of_first_crops`."""
        super().__init__(whole_spec(segments, most_crops), segments)
        self.path = path
        self._first_blocks = list(accumulate((s.spec.num_blocks for s in segments), initial=0))
        self._require_seals()

    def _require_seals(self) -> None:
        for segment in self.segments:
            segment.reader.require_seals()

    def __repr__(self) -> str:
        spec, name = self.spec, type(self).__name__
        return (
            f"{name}({str(self.path)!r}: {as_count(spec.num_images, 'image')} × "
            f"{as_count(spec.num_crops, 'crop')}, {spec.kept_words}, "
            f"{as_count(spec.num_classes, 'class')})"
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
        constants: Mapping[str, Constants] | None = None,
        overwrite: bool = False,
    ) -> Self:
        """Create an empty store beside `path` and rename it into place, so it is there whole or not.

        `targets` int64 [N] are class ids of the store, None where it is `unlabelled`; `class_names` are
        their C names, and `class_titles` C names to be read by people, or none. `constants` are what the
        schemes of vectors have learned, by target. With `overwrite`, it replaces the store at `path`,
        which is then removed.
        """
        named = ClassWords(class_names, class_titles)
        create_store(path, spec, images, targets, named, constants or {}, overwrite=overwrite)
        return cls.open(path, writable=True)

    @classmethod
    def open(cls, path: str | Path | Url, *, writable: bool = False) -> Self:
        """Open a store; raises `StoreError` where there is none or this fkd cannot read it.

        `path` is that of a folder or a .zip, or the address of either. A folder alone is `writable`.
        """
        path = as_place("the store", path)
        try:
            files = files_at(path)
            attributes = read_attributes(path, files)
            if writable and not isinstance(files, Folder):
                raise StoreError(f"{path} can be read alone; copy it to a folder with `fkd copy`")
            segments = open_segments(files, attributes, writable=writable)
            if writable and isinstance(files, Folder):
                require_plain(files.path)
            return cls(path, segments)
        except (MemoryError, OSError) as error:
            raise StoreError(f"{path} cannot be opened ({first_line(error)})") from error

    def of_first_crops(self, num_crops: int) -> Self:
        """Return the store of the first crops of every image, to be read: all others are left out.

        It need not have the others yet. Raises `StoreError` where it is of fewer.
        """
        if num_crops > self.spec.num_crops:
            raise StoreError(
                f"{self.path} has {as_count(self.spec.num_crops, 'crop')} an image, fewer than --crops "
                f"{num_crops}; `fkd label --crops {num_crops}` labels more"
            )
        segments = [s for s in self.segments if s.crops.start < num_crops]
        return type(self)(self.path, segments, num_crops)

    def of_targets(self, names: Collection[str]) -> Self:
        """Return the store to be read with the vectors of these targets alone, which may be none.

        Raises `StoreError` for a target that it does not have.
        """
        for name in names:
            self.vectors(name)
        segments = [segment.of_targets(names) for segment in self.segments]
        return type(self)(self.path, segments, self.spec.num_crops)

    # -- what it holds --------------------------------------------------------------------------

    @property
    def num_blocks(self) -> int:
        """How many blocks all segments have together; they are numbered through."""
        return self._first_blocks[-1]

    def block(self, number: int) -> BlockPlace:
        """Return which labels a block has."""
        segment, local = self._at(number)
        return segment.block(local)

    def _at(self, number: int) -> tuple[Segment, int]:
        """Return the segment that has a block, and the block's number in it."""
        place = bisect(self._first_blocks, number) - 1
        return self.segments[place], number - self._first_blocks[place]

    def blocks_by_segment(self) -> list[range]:
        """Return the numbers of the blocks of each segment."""
        return [range(first, stop) for first, stop in pairwise(self._first_blocks)]

    def done_blocks(self) -> list[int]:
        """Return the numbers of the blocks that are sealed."""
        firsts = zip(self._first_blocks, self.segments, strict=False)
        return [first + number for first, segment in firsts for number in sorted(segment.seals)]

    def pending_blocks(self) -> list[int]:
        """Return the numbers of the blocks that are not labelled yet."""
        return sorted({*range(self.num_blocks)} - {*self.done_blocks()})

    def finished_crops(self) -> NDArray[np.int64]:
        """Return how many crops of every image are labelled, from the first on, int64 [N]."""
        finished = np.zeros(self.spec.num_images, np.int64)
        for segments in self._by_images:
            for segment in segments:
                for number in segment.seals:
                    place = segment.block(number)
                    rows = finished[place.images.start : place.images.stop]
                    rows[rows == place.crops.start] = min(place.crops.stop, self.spec.num_crops)
        return finished

    def require_complete(self) -> None:
        """Raise `StoreError` unless every block is labelled."""
        pending = self.pending_blocks()
        if pending:
            least = int(self.finished_crops().min())
            firsts = as_count(least, "crop")
            raise StoreError(
                f"{self.path} is unfinished: {len(pending)} of {as_count(self.num_blocks, 'block')} are "
                "not labelled; run the same `fkd label` command again to finish it"
                + (f", or read the first {firsts} of each image (--crops {least})" if least else "")
            )

    def labelled_images(self) -> NDArray[np.int64]:
        """Return the indices, int64, of all images of a complete store that have labels."""
        self.require_complete()
        return np.flatnonzero(self.status() == 0)

    # -- writing --------------------------------------------------------------------------------

    def add_crops(self, num_crops: int) -> None:
        """Begin segments with which every image has `num_crops`; raises `StoreError` where one has more.

        They are there, and pending, when the store is opened again.
        """
        number = len(self.segments)
        for segments in self._by_images:
            number = begin_crops(self._folder, self.segments[0], segments, num_crops, number)

    def add_images(
        self, images: ImageList, targets: NDArray[np.int64] | None, fingerprint: str
    ) -> None:
        """Begin a segment of more images with all crops; `targets` int64 [n] are classes of the store.

        It is there, and pending, when the store is opened again.
        """
        root, number = self.segments[0], len(self.segments)
        begin_images(self._folder, self.spec, root, images, targets, fingerprint, number)

    @property
    def _folder(self) -> Path:
        """The folder of a store that can be written."""
        files = self.segments[0].files
        if not isinstance(files, Folder):
            raise StoreError(f"{self.path} can be read alone; copy it to a folder with `fkd copy`")
        return files.path

    def empty_block(self, number: int) -> Block:
        """Return a block of zeros, ready to be filled."""
        segment, local = self._at(number)
        return Block.empty(segment.spec, local)

    def commit_block(self, number: int, block: Block) -> None:
        """Write a block's shards, sync them, and only then seal it as done."""
        segment, local = self._at(number)
        segment.commit(local, block)

    # -- reading --------------------------------------------------------------------------------

    def read_crops(self, slots: Sequence[int]) -> Slab:
        """Read the crops `slots` (rising by one, wrapping at M) of all images: a pass's slab."""
        self.require_complete()
        wraps = [n for n in range(1, len(slots)) if slots[n] < slots[n - 1]]
        bounds = zip([0, *wraps], [*wraps, len(slots)], strict=True)
        runs = [range(slots[a], slots[b - 1] + 1) for a, b in bounds]
        images = range(self.spec.num_images)
        return Slab.concatenate([self.read(images, run) for run in runs], axis=1)

    def image_runs(self) -> list[range]:
        """Return all images in runs whose crops can be read together: those of one block each."""
        places = [self.block(number) for number in range(self.num_blocks)]
        return [place.images for place in places if place.crops.start == 0]

    def read_block(self, number: int) -> Slab:
        """Read all labels of one block."""
        place = self.block(number)
        return self.read(place.images, place.crops)

    def read_images(self, images: range, num_crops: int) -> Slab:
        """Read the first crops of a run of images; the blocks that these lie in must be labelled."""
        return self.read(images, range(num_crops))

    def read(self, images: range, crops: range) -> Slab:
        """Read a run of crops of a run of images, which must be labelled."""
        rows = []
        for segments in self._by_images:
            some = common(images, segments[0].images)
            if not some:
                continue
            parts = [
                segment.reader.images(local(some, segment.images), local(their, segment.crops))
                for segment in segments
                if (their := common(crops, segment.crops))
            ]
            rows.append(Slab.concatenate(parts, axis=1))
        return Slab.concatenate(rows)


def common(one: range, other: range) -> range:
    """Return what two runs have in common."""
    return range(max(one.start, other.start), min(one.stop, other.stop))


def local(run: range, whole: range) -> range:
    """Return a run as places in another one that it lies in."""
    return range(run.start - whole.start, run.stop - whole.start)
