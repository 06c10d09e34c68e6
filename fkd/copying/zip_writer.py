"""A zip archive of members that are not compressed: the same members make the same bytes."""

import os
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Self

# The first day that a zip can tell: a date of today would make two archives of one store differ.
_DATE = (1980, 1, 1, 0, 0, 0)
_PLAIN_FILE = 0o100644 << 16
_UNIX = 3


class ZipWriter:
    """An archive that is written from its beginning to its end."""

    def __init__(self, path: Path) -> None:
        """Begin the archive at `path`, in place of what is there."""
        self._file = path.open("wb")
        self._archive = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, ValueError):  # of what is given up, all is removed
            self._archive.close()
        self._file.close()

    def add(self, name: str, content: bytes) -> None:
        """Add a member; raises `OSError`."""
        info = zipfile.ZipInfo(name, _DATE)
        info.create_system, info.external_attr = _UNIX, _PLAIN_FILE
        self._archive.writestr(info, content)

    def close(self) -> None:
        """Write the directory, and have all of it on disk."""
        self._archive.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
