"""A store as `fkd check` opens it: with damaged seals, and whatever values its blocks hold."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkd.errors import BlockError
from fkd.labels import StoredArray, fidelity_fault
from fkd.store.slabs import StoredCrops
from fkd.store.store import LabelStore


class InspectedStore(LabelStore):
    """A label store to look for damage in, and to send damaged blocks back. Build one with `open`."""

    def _require_seals(self) -> None:
        """Open with damaged seals too: `torn_seals` has them."""

    def torn_seals(self) -> list[BlockError]:
        """Return what is wrong with damaged seals."""
        return list(self._reader.torn_seals.values())

    def require_sealed(self, number: int) -> None:
        """Raise `BlockError` where a block's files are not those that were sealed."""
        self._reader.require_sealed([number])

    def read_raw(self, number: int, crops: slice) -> StoredCrops:
        """Read a run of crops of a block, whatever their boxes and ids are, and without classes.

        Boxes that are not stored are drawn, and not compared with their hash.
        """
        block = self.spec.block_range(number)
        return self._reader.part(slice(block.start, block.stop), crops)

    def image_facts(self, number: int) -> dict[str, StoredArray]:
        """Return what a block says of its images: `size`, `status` and, if kept, `content_hash`."""
        block = self.spec.block_range(number)
        names = [n for n in ("size", "status", "content_hash") if n in self._arrays]
        return {n: self._reader.read(n, slice(block.start, block.stop)) for n in names}

    def view_hashes(self, number: int) -> NDArray[np.uint64]:
        """Return what a block that stores no boxes says of them: a hash for each chunk, u64."""
        return self._reader.view_hashes(number)

    def fidelity_fault(self, number: int) -> str | None:
        """Say why what a block says of its labels' fidelity cannot be, or return None."""
        if "fidelity" not in self._arrays:
            return None
        measures = self._reader.read("fidelity", slice(number, number + 1))[0]
        return fidelity_fault(measures, self.spec.scheme)

    def strange_files(self) -> list[Path]:
        """Return the files in the store's folder that are no part of a store, relative to it."""
        known = self._files.all_files()
        files = (path for path in self.path.rglob("*") if not path.is_dir() or path.is_symlink())
        return sorted(path.relative_to(self.path) for path in files if path not in known)

    def unsealed_files(self) -> int:
        """Return how many files unfinished blocks have; such files are no data."""
        pending = self.pending_blocks()
        return sum(file.exists() for n in pending for file in self._files.shards(n).values())

    def unseal(self, numbers: Iterable[int]) -> None:
        """Send blocks back: without their seals they are labelled again; raises `StoreError`."""
        self._writer.unseal(numbers)
