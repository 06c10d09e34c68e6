"""The files of a store's blocks: where they are, what seals them, and whether they may be read."""

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from fkd.errors import BlockError, StoreError, codec_words, first_line
from fkd.labels import StoredArray
from fkd.store.headers import CRC_BYTES, fault, too_many_names
from fkd.store.layout import ArrayLayout

WHOLE_REMEDY = "restore the file, or label anew with --overwrite"
IMPLAUSIBLE_REMEDY = "no labeller writes that, so do not use this store"


class BlockFiles:
    """A store's files: one per block and array, and one for each array that is not cut into blocks."""

    def __init__(self, path: Path, layouts: Mapping[str, ArrayLayout]) -> None:
        """Remember where the files are; none is looked at yet."""
        self.path = path
        self._layouts = layouts
        self._num_blocks = layouts["done"].shape[0]
        self._trusted: set[Path] = set()

    def shards(self, number: int) -> dict[str, Path]:
        """Return the file of every array that has one object per block, in the order of the seal."""
        names = (name for name, layout in self._layouts.items() if layout.by_block)
        return {name: self.chunk(name, number) for name in names}

    def chunk(self, name: str, number: int) -> Path:
        """Return the file of a block's part of an array; all of one that has no parts is number 0."""
        zeros = ["0"] * (len(self._layouts[name].shape) - 1)
        return self.path.joinpath(name, "c", str(number), *zeros)

    def values(self, name: str, number: int) -> StoredArray:
        """Return the values of a part that is one chunk; raises whatever a damaged one leads to.

        It is a zstd frame with a CRC-32C. `problem` must have found it good: that bounds what is
        allocated here.
        """
        import google_crc32c
        from numcodecs import zstd

        layout, content = self._layouts[name], self.chunk(name, number).read_bytes()
        frame, checksum = content[:-CRC_BYTES], content[-CRC_BYTES:]
        if google_crc32c.value(frame) != int.from_bytes(checksum, "little"):
            raise ValueError("its checksum is wrong")
        values = np.frombuffer(zstd.decompress(frame), np.dtype(layout.dtype).newbyteorder("<"))
        return values.astype(layout.dtype, copy=False).reshape(layout.chunks)

    def seal_file(self, number: int) -> Path:
        """Return the file that says that a block is done."""
        return self.path / "done" / "c" / str(number) / "0"

    def all_files(self) -> set[Path]:
        """Return every file that a complete store has."""
        files = {self.path / "zarr.json"}
        for name, layout in self._layouts.items():
            files |= {self.path / name / "zarr.json", self.path / name / "c" / "0"}
            if layout.by_block or name == "done":
                files.discard(self.path / name / "c" / "0")
        for number in range(self._num_blocks):
            files |= {*self.shards(number).values(), self.seal_file(number)}
        return files

    def stored_bytes(self) -> dict[str, int]:
        """Return the bytes on disk by array, and of all other files as "metadata"."""
        sizes = dict.fromkeys([*self._layouts, "metadata"], 0)
        for file in self.path.rglob("*"):
            if file.is_file():
                array = file.relative_to(self.path).parts[0]
                is_data = array in sizes and file.name != "zarr.json"
                sizes[array if is_data else "metadata"] += file.stat().st_size
        return sizes

    def seal(self, number: int) -> bytes:
        """Return the SHA-256 over a block's files."""
        digest = hashlib.sha256()
        for shard in self.shards(number).values():
            digest.update(shard.read_bytes())
        return digest.digest()

    def unlike_seal(self, number: int, seal: bytes) -> str | None:
        """Say why a block's files are not those that were sealed, or return None.

        Raises `OSError` where that cannot be told now.
        """
        for name, file in self.shards(number).items():
            problem = self.problem(name, file)
            if problem:
                return f"{file.relative_to(self.path)} {problem}"
        return None if self.seal(number) == seal else "its files are not those that were sealed"

    def require(self, name: str, numbers: Iterable[int]) -> None:
        """Refuse sealed blocks whose part of an array is absent, empty, or not what it should be.

        zarr would fill what is absent with zeros, and decompress whatever it finds.
        """
        for number in numbers:
            file = self.chunk(name, number)
            try:
                problem = self.problem(name, file)
            except OSError as error:
                what = f"array '{name}' cannot be read ({first_line(error)})"
                raise BlockError(self.path, number, what, lost=False) from error
            if problem:
                what = f"array '{name}': {file.relative_to(self.path)} {problem}"
                raise BlockError(self.path, number, what)

    def require_whole(self, name: str) -> None:
        """Refuse an array of the whole store that is absent, empty, or not what it should be."""
        file = self.path / name / "c" / "0"
        try:
            problem = self.problem(name, file)
        except OSError as error:
            problem = f"cannot be read ({first_line(error)})"
        if problem:
            raise StoreError(f"{self.path}: array '{name}': {file} {problem}; {WHOLE_REMEDY}")

    def require_names(self, name: str, count: int) -> None:
        """Refuse a list of names that is damaged, or cannot hold as many as the store claims."""
        self.require_whole(name)
        problem = too_many_names(self.path / name / "c" / "0", count)
        if problem:
            raise StoreError(f"{self.path}: array '{name}': {problem}; do not use this store")

    def require_plain(self) -> None:
        """Refuse a store to be written that holds a link, which may lead anywhere, a pipe or a device."""
        for path in self.path.rglob("*"):
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:
                continue  # another labeller has moved what it wrote into its place
            if stat.S_ISLNK(mode):
                raise StoreError(
                    f"{self.path}: {path} is a link, and a store has none; copy the store with its links "
                    "followed (cp -rL)"
                )
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise StoreError(f"{self.path}: {path} is no plain file; remove it")

    def sealed_blocks(self) -> list[int]:
        """Return the numbers of the blocks that have a seal.

        An empty seal is none: a power cut came before its bytes were written.
        """
        folder = self.path / "done" / "c"
        names = os.listdir(folder) if folder.is_dir() else []
        numbers = [int(name) for name in names if name.isdecimal() and str(int(name)) == name]
        return sorted(
            number
            for number in numbers
            if number < self._num_blocks and _has_bytes(self.seal_file(number))
        )

    def read_seals(self) -> tuple[dict[int, bytes], dict[int, BlockError]]:
        """Return the seal of every block that is done, and what is wrong with each damaged seal."""
        seals: dict[int, bytes] = {}
        torn: dict[int, BlockError] = {}
        for number in self.sealed_blocks():
            try:
                problem, lost = self.problem("done", self.seal_file(number)), True
                row = b"" if problem else self.values("done", number).tobytes()
            except (MemoryError, OSError) as error:
                problem, lost = f"cannot be read now ({first_line(error)})", False
            except Exception as error:  # codecs raise whatever they like on damaged bytes
                problem, lost = f"is damaged ({codec_words(error)})", True
            if problem:
                torn[number] = BlockError(self.path, number, f"its seal {problem}", lost=lost)
            elif any(row):
                seals[number] = row
        return seals, torn

    def problem(self, name: str, file: Path) -> str | None:
        """Say why a file must not be read, or return None; a good file is looked at once.

        Raises `OSError` where that cannot be told.
        """
        if file in self._trusted and file.is_file():
            return None
        try:
            if file.stat().st_size == 0:
                return "is empty"
            damage = fault(self.path, file, self._layouts[name])
        except FileNotFoundError:
            return "is missing"
        if damage is None:
            self._trusted.add(file)
        return None if damage is None else f"is damaged ({damage})"


def _has_bytes(file: Path) -> bool:
    """Say whether a file has bytes; one that may not be looked at is taken to have some."""
    try:
        return file.stat().st_size > 0
    except PermissionError:
        return True
    except OSError:
        return False
