"""The files of a store's blocks: where they are, what seals them, and whether they may be read."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set

import numpy as np

from fkd.arrays.headers import CRC_BYTES, fault, index_bytes, shard_index, too_many_names
from fkd.arrays.parts import Selection, touched, within
from fkd.errors import BlockError, StoreError, codec_words, first_line
from fkd.files import Files
from fkd.format import ArrayLayout
from fkd.labels import StoredArray

WHOLE_REMEDY = "restore the file, or label anew with --overwrite"
IMPLAUSIBLE_REMEDY = "no labeller writes that, so do not use this store"


class BlockFiles:
    """A store's files: one per block and array, and one for each array that is not cut into blocks.

    They are named by their keys: "slot/c/3/0/0".
    """

    def __init__(self, files: Files, layouts: Mapping[str, ArrayLayout]) -> None:
        """Remember where the files are; none is looked at yet."""
        self.files = files
        self.layouts = layouts
        self._num_blocks = layouts["done"].shape[0]
        self._trusted: set[str] = set()
        self._trusted_chunks: dict[str, set[int]] = {}  # of files that are not near

    def shards(self, number: int) -> dict[str, str]:
        """Return the file of every array that has one object per block, in the order of the seal."""
        names = (name for name, layout in self.layouts.items() if layout.by_block)
        return {name: self.chunk(name, number) for name in names}

    def chunk(self, name: str, number: int) -> str:
        """Return the file of a block's part of an array; all of one that has no parts is number 0."""
        return f"{name}/c/{number}" + "/0" * (len(self.layouts[name].shape) - 1)

    def values(self, name: str, number: int) -> StoredArray:
        """Return the values of a part that is one chunk; raises whatever a damaged one leads to.

        It is a zstd frame with a CRC-32C. `problem` must have found it good: that bounds what is
        allocated here.
        """
        import google_crc32c
        from numcodecs import zstd

        layout, content = self.layouts[name], self.files.read(self.chunk(name, number))
        frame, checksum = content[:-CRC_BYTES], content[-CRC_BYTES:]
        if google_crc32c.value(frame) != int.from_bytes(checksum, "little"):
            raise ValueError("its checksum is wrong")
        values = np.frombuffer(zstd.decompress(frame), np.dtype(layout.dtype).newbyteorder("<"))
        return values.astype(layout.dtype, copy=False).reshape(layout.chunks)

    def seal_file(self, number: int) -> str:
        """Return the file that says that a block is done."""
        return self.chunk("done", number)

    def all_files(self) -> set[str]:
        """Return every file that a complete store has."""
        files = {"zarr.json"}
        for name, layout in self.layouts.items():
            files.add(f"{name}/zarr.json")
            if not layout.by_block and name != "done":
                files.add(self.chunk(name, 0))
        for number in range(self._num_blocks):
            files |= {*self.shards(number).values(), self.seal_file(number)}
        return files

    def sealed_files(self, numbers: Set[int]) -> list[str]:
        """Return every file of a store in which these blocks are sealed, the group's metadata first."""
        of_others = {
            key
            for number in {*range(self._num_blocks)} - numbers
            for key in (*self.shards(number).values(), self.seal_file(number))
        }
        return sorted(self.all_files() - of_others, key=lambda key: (key != "zarr.json", key))

    def seal(self, number: int) -> bytes:
        """Return the SHA-256 over a block's files."""
        digest = hashlib.sha256()
        for shard in self.shards(number).values():
            digest.update(self.files.read(shard))
        return digest.digest()

    def unlike_seal(self, number: int, seal: bytes) -> str | None:
        """Say why a block's files are not those that were sealed, or return None.

        Raises `OSError` where that cannot be told now.
        """
        for name, file in self.shards(number).items():
            problem = self.problem(name, file, number)
            if problem:
                return f"{file} {problem}"
        return None if self.seal(number) == seal else "its files are not those that were sealed"

    def require(self, name: str, numbers: Iterable[int], selection: Selection = ()) -> None:
        """Refuse sealed blocks whose part of an array is absent, empty, or not what it should be.

        zarr would fill what is absent with zeros, and decompress whatever it finds. Of a file that is not
        near, what the selection touches is looked at.
        """
        for number in numbers:
            file = self.chunk(name, number)
            try:
                problem = self.problem(
                    name, file, number, touched(self.layouts[name], number, selection)
                )
            except OSError as error:
                what = f"array '{name}' cannot be read ({first_line(error)})"
                raise BlockError(self.files.where, number, what, lost=False) from error
            if problem:
                what = f"array '{name}': {file} {problem}"
                raise BlockError(self.files.where, number, what)

    def require_whole(self, name: str) -> None:
        """Refuse an array of the whole store that is absent, empty, or not what it should be."""
        file, where = self.chunk(name, 0), self.files.where
        try:
            problem = self.problem(name, file)
        except OSError as error:
            problem = f"cannot be read ({first_line(error)})"
        if problem:
            raise StoreError(f"{where}: array '{name}': {where}/{file} {problem}; {WHOLE_REMEDY}")

    def require_names(self, name: str, count: int) -> None:
        """Refuse a list of names that is damaged, or cannot hold as many as the store claims."""
        self.require_whole(name)
        problem = too_many_names(self.files.bytes_on_disk(self.chunk(name, 0)), count)
        if problem:
            where = self.files.where
            raise StoreError(f"{where}: array '{name}': {problem}; do not use this store")

    def sealed_blocks(self) -> list[int]:
        """Return the numbers of the blocks that have a seal.

        An empty seal is none: a power cut came before its bytes were written.
        """
        numbers = range(self._num_blocks)
        self.files.bring((self.seal_file(number), 0, None) for number in numbers)
        return [number for number in numbers if self._has_bytes(self.seal_file(number))]

    def read_seals(self) -> tuple[dict[int, bytes], dict[int, BlockError]]:
        """Return the seal of every block that is done, and what is wrong with each damaged seal."""
        seals: dict[int, bytes] = {}
        torn: dict[int, BlockError] = {}
        for number in self.sealed_blocks():
            try:
                problem, lost = self.problem("done", self.seal_file(number), number), True
                row = b"" if problem else self.values("done", number).tobytes()
            except (MemoryError, OSError) as error:
                problem, lost = f"cannot be read now ({first_line(error)})", False
            except Exception as error:  # codecs raise whatever they like on damaged bytes
                problem, lost = f"is damaged ({codec_words(error)})", True
            if problem:
                what = f"its seal {problem}"
                torn[number] = BlockError(self.files.where, number, what, lost=lost)
            elif any(row):
                seals[number] = row
        return seals, torn

    def problem(
        self, name: str, file: str, number: int = 0, chunks: Sequence[int] | None = None
    ) -> str | None:
        """Say why a file must not be read, or return None; a good file is looked at once.

        It is that of block `number`. Of a shard that is not near, these `chunks` are looked at. Raises
        `OSError` where that cannot be told.
        """
        known = self._trusted_chunks.setdefault(file, set()) if chunks is not None else set()
        try:
            num_bytes = self.files.size(file)
            if file in self._trusted:
                return None
            if chunks is not None and self.files.is_near(file):
                chunks = None
            new = None if chunks is None else [n for n in chunks if n not in known]
            if new == []:
                return None
            damage = fault(self.files, file, self.layouts[name], number, new) if num_bytes else None
        except FileNotFoundError:
            return "is missing"
        if num_bytes == 0:
            return "is empty"
        if damage is None and new is None:
            self._trusted.add(file)
            self._trusted_chunks.pop(file, None)
        elif damage is None:
            known.update(new or ())
        return None if damage is None else f"is damaged ({damage})"

    def bring(self, wanted: Iterable[tuple[str, range, Selection]]) -> None:
        """Have near what will be read: of each array, what a selection of it touches in some blocks.

        Of arrays with shards their indexes come first, and tell where the chunks are. What is wrong with
        them is left for the reading to tell.
        """
        far = [
            (self.layouts[name], key, number, selection)
            for name, numbers, selection in wanted
            for number in numbers
            if not self._is_near(key := self.chunk(name, number))
        ]
        sharded = [part for part in far if part[0].shards is not None]
        self.files.bring(
            (key, 0 if layout.shards is None else -index_bytes(layout), None)
            for layout, key, _, _ in far
        )
        self.files.bring(
            (key, *bounds)
            for layout, key, number, selection in sharded
            for bounds in self._places(
                layout, key, touched(layout, number, selection) or within(layout, number)
            )
        )

    def is_near(self, number: int) -> bool:
        """Say whether all files of a block can be read without a network."""
        return all(self._is_near(key) for key in self.shards(number).values())

    def forget(self, number: int) -> None:
        """Drop what is kept of a block that turned out damaged."""
        keys = list(self.shards(number).values())
        self._trusted.difference_update(keys)
        self.files.forget(keys)

    def _is_near(self, key: str) -> bool:
        try:
            return self.files.is_near(key)
        except OSError:
            return True  # the reading will tell

    def _places(
        self, layout: ArrayLayout, key: str, chunks: Sequence[int]
    ) -> list[tuple[int, int]]:
        """Return from where to where chunks of a shard lie."""
        try:
            index = shard_index(self.files, key, self.files.size(key), layout)
        except (OSError, ValueError):
            return []
        return [(index[n][0], sum(index[n])) for n in chunks]

    def _has_bytes(self, file: str) -> bool:
        """Say whether a file has bytes; one that may not be looked at is taken to have some."""
        try:
            return self.files.size(file) > 0
        except PermissionError:
            return True
        except OSError:
            return False
