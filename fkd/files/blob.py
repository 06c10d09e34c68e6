"""One object that is read by position: a file on this machine, or an object far away."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from fkd.files.remote import Remote


class Blob(Protocol):
    """The bytes of one object. All of it may be called by many threads at once."""

    @property
    def where(self) -> str:
        """Its path or address, for messages."""

    @property
    def size(self) -> int:
        """Its bytes; raises `OSError`."""

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes [start, stop), or fewer at its end; raises `OSError`."""

    def bytes_on_disk(self) -> int:
        """Return the bytes that it takes; of a sparse file they are fewer than its size."""

    def bring(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Have ranges near, many at once."""

    def is_near(self, start: int, stop: int) -> bool:
        """Say whether a range can be read without a network."""

    def forget(self, start: int, stop: int) -> None:
        """Drop what a cache holds of a range."""


class LocalBlob:
    """A file that stays open: reading by position needs no lock, and goes on in a fork."""

    def __init__(self, path: Path) -> None:
        """Open the file; raises `OSError`."""
        self.path, self.where = path, str(path)
        # Without O_NONBLOCK, opening a pipe waits for a writer.
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(self._file)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is no plain file")
        self.size = status.st_size
        blocks = 512 * getattr(status, "st_blocks", 0)
        self._on_disk = min(self.size, blocks) if blocks else self.size

    def __reduce__(self) -> tuple[Any, ...]:
        return LocalBlob, (self.path,)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes [start, stop), or fewer at its end; raises `OSError`."""
        content = os.pread(self._file, stop - start, start)
        while content and len(content) < stop - start:  # a signal, or more than 2 GiB
            more = os.pread(self._file, stop - start - len(content), start + len(content))
            if not more:
                break
            content += more
        return content

    def bytes_on_disk(self) -> int:
        """Return the bytes that it takes; of a sparse file they are fewer than its size."""
        return self._on_disk

    def bring(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Do nothing: all is near."""

    def is_near(self, start: int, stop: int) -> bool:
        """Return True."""
        return True

    def forget(self, start: int, stop: int) -> None:
        """Do nothing: there is no cache."""


class RemoteBlob:
    """An object in a bucket or on a web server."""

    def __init__(self, remote: Remote, key: str) -> None:
        """Read the object `key` of `remote`; no request is made yet."""
        self._remote, self._key = remote, key
        self.where = f"{remote.where}/{key}"

    @property
    def size(self) -> int:
        """Its bytes; raises `OSError`."""
        return self._remote.size(self._key)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes [start, stop), or fewer at its end; raises `OSError`."""
        return self._remote.read(self._key, start, stop)

    def bytes_on_disk(self) -> int:
        """Return its size."""
        return self.size

    def bring(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Have ranges near, many at once."""
        self._remote.bring((self._key, start, stop) for start, stop in ranges)

    def is_near(self, start: int, stop: int) -> bool:
        """Say whether a range is in the cache."""
        return self._remote.has(self._key, start, stop)

    def forget(self, start: int, stop: int) -> None:
        """Drop what the cache holds of a range."""
        self._remote.drop(self._key, start, stop)
