"""The files of a store's blocks: where they are, what seals them, and whether they may be read."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from fkd.errors import StoreError, first_line
from fkd.frames import fault
from fkd.layout import ArrayLayout

REMEDY = "restore the file, or send the block back to `fkd label` with `fkd check --repair`"
WHOLE_REMEDY = "restore the file or label anew"


class BlockFiles:
    """The files below a store's folder, one per block and array, and those of arrays that are whole."""

    def __init__(self, path: Path, layouts: Mapping[str, ArrayLayout]) -> None:
        """Look at nothing yet."""
        self.path = path
        self._layouts = layouts
        self._trusted: set[Path] = set()

    def shards(self, number: int) -> dict[str, Path]:
        """Return the file of every array that has one object per block, in the order of the seal."""
        return {
            name: self.path.joinpath(name, "c", str(number), *["0"] * (len(layout.shape) - 1))
            for name, layout in self._layouts.items()
            if layout.by_block
        }

    def seal_file(self, number: int) -> Path:
        """Return the file that says that a block is done."""
        return self.path / "done" / "c" / str(number) / "0"

    def seal(self, number: int) -> bytes:
        """Return the SHA-256 over a block's files."""
        digest = hashlib.sha256()
        for shard in self.shards(number).values():
            digest.update(shard.read_bytes())
        return digest.digest()

    def require(self, name: str, numbers: Iterable[int]) -> None:
        """Refuse sealed blocks whose part of an array is absent, empty, or not what it should be.

        zarr would fill what is absent with zeros, and decompress whatever it finds.
        """
        for number in numbers:
            file = self.shards(number)[name]
            problem = self.fault(name, file)
            if problem:
                raise StoreError(
                    f"{self.path}: block {number}, array '{name}': {file} {problem}; {REMEDY}"
                )

    def require_whole(self, name: str) -> None:
        """Refuse an array of the whole store that is absent, empty, or not what it should be."""
        file = self.path / name / "c" / "0"
        problem = self.fault(name, file)
        if problem:
            raise StoreError(f"{self.path}: array '{name}': {file} {problem}; {WHOLE_REMEDY}")

    def fault(self, name: str, file: Path) -> str | None:
        """Say why a file must not be read, once: what has been found good is not looked at again."""
        if file in self._trusted and file.is_file():
            return None
        try:
            if file.stat().st_size == 0:
                return "is empty"
            problem = fault(self.path, file, self._layouts[name])
        except FileNotFoundError:
            return "is missing"
        except OSError as error:
            return f"cannot be read ({first_line(error)})"
        if problem is None:
            self._trusted.add(file)
        return None if problem is None else f"is damaged ({problem})"
