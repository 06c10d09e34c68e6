"""A store as `fkd check` opens it: with damaged seals, and whatever values its blocks hold."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fkd.errors import BlockError
from fkd.files import Files
from fkd.format import StoreSpec
from fkd.labels import StoredArray, fidelity_fault
from fkd.store.segment import segment_name
from fkd.store.slabs import StoredCrops
from fkd.store.store import LabelStore


class InspectedStore(LabelStore):
    """A label store to look for damage in, and to send damaged blocks back. Build one with `open`.

    Blocks are numbered through all segments.
    """

    def _require_seals(self) -> None:
        """Open with damaged seals too: `torn_seals` has them."""

    def torn_seals(self) -> dict[int, BlockError]:
        """Return what is wrong with damaged seals, by block."""
        firsts = zip(self._first_blocks, self.segments, strict=False)
        return {
            first + number: error
            for first, segment in firsts
            for number, error in segment.reader.torn_seals.items()
        }

    def readable_blocks(self) -> list[int]:
        """Return the finished blocks that can be read: those of more crops need their images labelled."""
        reached = self.finished_crops() > 0
        return [n for n in self.done_blocks() if reached[self.block(n).images.start]]

    def spec_of(self, number: int) -> StoreSpec:
        """Return what the segment that has a block is of."""
        return self._at(number)[0].spec

    def require_sealed(self, number: int) -> None:
        """Raise `BlockError` where a block's files are not those that were sealed."""
        segment, local = self._at(number)
        shards = segment.block_files.shards(local).values()
        segment.files.bring((key, 0, None) for key in shards)
        segment.reader.require_sealed([local])
        segment.reader.require_compared(local)

    def read_raw(self, number: int, crops: slice) -> StoredCrops:
        """Read a run of a block's own crops, whatever their boxes and ids are, and without classes.

        Boxes that are not stored are drawn, and not compared with their hash.
        """
        segment, local = self._at(number)
        return segment.reader.part(segment.spec.block_rows(local), crops)

    def image_facts(self, number: int) -> dict[str, StoredArray]:
        """Return what a block says of its images: `size`, `status` and, if kept, its hashes.

        A block of more crops says nothing of its images.
        """
        segment, local = self._at(number)
        images, arrays = segment.spec.block_rows(local), segment.reader.arrays
        of_images = ("size", "status", "content_hash", "mask_hash", "text_hash")
        names = [n for n in of_images if n in arrays]
        return {n: arrays.read(n, images) for n in names}

    def view_hashes(self, number: int) -> NDArray[np.uint64]:
        """Return what a block that stores no boxes says of them: a hash for each chunk, u64."""
        segment, local = self._at(number)
        return segment.reader.views.hashes(local)

    def fidelity_fault(self, number: int) -> str | None:
        """Say why what a block says of its labels' fidelity cannot be, or return None."""
        segment, local = self._at(number)
        if "fidelity" not in segment.reader.arrays:
            return None
        measures = segment.reader.arrays.read("fidelity", slice(local, local + 1))[0]
        return fidelity_fault(measures, self.spec.scheme)

    def strange_files(self) -> list[str]:
        """Return the files in the store's folder that are no part of a store, as far as it is listed."""
        known = set(self.segments[0].block_files.all_files())
        for number, segment in enumerate(self.segments[1:], start=1):
            known |= {f"{segment_name(number)}/{key}" for key in segment.block_files.all_files()}
        try:
            return sorted(key for key in self.segments[0].files.keys() if key not in known)  # noqa: SIM118
        except OSError:
            return []  # a web server lists nothing

    def unsealed_files(self) -> int:
        """Return how many files unfinished blocks have; such files are no data."""
        places = [self._at(number) for number in self.pending_blocks()]
        shards = [
            (segment.files, key)
            for segment, local in places
            for key in segment.block_files.shards(local).values()
        ]
        return sum(_is_there(files, key) for files, key in shards)

    def unseal(self, numbers: Iterable[int]) -> None:
        """Send blocks back: without their seals they are labelled again; raises `StoreError`."""
        for number in numbers:
            segment, local = self._at(number)
            segment.writer.unseal([local])


def _is_there(files: Files, key: str) -> bool:
    try:
        return files.size(key) >= 0
    except OSError:
        return False
