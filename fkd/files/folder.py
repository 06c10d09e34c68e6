"""The objects of a store as files below a folder."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path


class Folder:
    """Files below `path`, whose keys are their paths with forward slashes: `Files` on a disk."""

    def __init__(self, path: Path) -> None:
        """Look at nothing yet."""
        self.path = path

    def __repr__(self) -> str:
        return f"Folder({str(self.path)!r})"

    @property
    def where(self) -> str:
        """The folder's path."""
        return str(self.path)

    def file(self, key: str) -> Path:
        """Return the path of a file, whether it is there or not."""
        return self.path / key

    def size(self, key: str) -> int:
        """Return the bytes of a file."""
        return self.file(key).stat().st_size

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes of a file from `start` to `stop`; a negative start counts from its end."""
        with self.file(key).open("rb") as content:
            if start:
                content.seek(start, os.SEEK_SET if start > 0 else os.SEEK_END)
            return content.read() if stop is None else content.read(max(0, stop - content.tell()))

    def read_parts(self, key: str, parts: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several parts, (start, stop) each, of one file."""
        with self.file(key).open("rb") as content:
            return [os.pread(content.fileno(), stop - start, start) for start, stop in parts]

    def keys(self) -> Iterator[str]:
        """Yield the key of every file and link."""
        for path in self.path.rglob("*"):
            if not path.is_dir() or path.is_symlink():
                yield path.relative_to(self.path).as_posix()

    def flaw(self, key: str) -> str | None:
        """Say that a file is a link or lies behind one, or is no plain file; or return None."""
        file = self.file(key)
        way = [self.path / parent for parent in reversed(Path(key).parents[:-1])]
        link = next((path for path in (*way, file) if path.is_symlink()), None)
        if link is not None:
            return f"{link} is a link, and a store has none; copy the store with its links followed"
        return None if stat.S_ISREG(file.lstat().st_mode) else "it is no plain file"

    def bytes_on_disk(self, key: str) -> int:
        """Return the bytes that a file takes, which of a sparse one are fewer than its size."""
        status = self.file(key).lstat()
        blocks = 512 * getattr(status, "st_blocks", 0)
        return min(status.st_size, blocks) if blocks else status.st_size

    def below(self, name: str) -> "Folder":
        """Return a folder in this one."""
        return Folder(self.path / name)

    def bring(self, wanted: Iterable[tuple[str, int, int | None]]) -> None:
        """Do nothing: a disk is near."""

    def is_near(self, key: str) -> bool:
        """Return True: a disk is near."""
        return True

    def forget(self, keys: Iterable[str]) -> None:
        """Do nothing: these are the files themselves."""
