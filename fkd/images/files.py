"""The bytes of images that are files of their own."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fkd.errors import DecodeError, Reason, first_line
from fkd.images.keys import Keys

# Of one image, encoded.
MAX_IMAGE_BYTES = 2**31


def read_file(path: str) -> bytearray:
    """Return the bytes of an image file; raises `DecodeError` where there are none, or far too many.

    torchvision's own reader maps the file into memory, and each unmapping stops all threads.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_IMAGE_BYTES:
                raise DecodeError(path, "too large", f"{size:,} bytes")
            encoded = bytearray(size)  # memory is taken once
            read = file.readinto(encoded) or 0
            if read < size or not size:  # it shrank, or is a pipe, which has no size
                del encoded[read:]
                encoded += file.readall()
    except OSError as error:
        reason: Reason = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        raise DecodeError(path, reason, first_line(error)) from error
    if not encoded:
        raise DecodeError(path, "empty", "no bytes")
    return encoded


@dataclass(frozen=True)
class FolderFiles:
    """Images that are files of their own: `paths` relative to `root`."""

    root: str
    paths: Sequence[str]

    def read(self, image_index: int) -> bytearray:
        """Return the bytes of one file; raises `DecodeError` where there are none, or far too many."""
        return read_file(self.name(image_index))

    def name(self, image_index: int) -> str:
        """Return the path of one file, joined to the root."""
        return os.path.join(self.root, self.paths[image_index])

    def take(self, rows: NDArray[np.int64]) -> "FolderFiles":
        """Return some of the files, int64 [n], in their order."""
        return FolderFiles(self.root, Keys.of(self.paths).take(rows))
