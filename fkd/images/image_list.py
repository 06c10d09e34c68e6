"""The ordered list of the images of a data set, wherever they are kept.

The image index, a position in this list, is the key of everything that a store holds.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from fkd.errors import DecodeError
from fkd.images.files import FolderFiles
from fkd.images.keys import Keys


class Contents(Protocol):
    """Where the bytes of N images are: in files of their own, or in the middle of an archive."""

    def read(self, image_index: int) -> bytearray:
        """Return the bytes of one image, from any thread; raises `DecodeError` where there are none."""
        ...

    def name(self, image_index: int) -> str:
        """Say which image it is, for a message: a path, or an archive and a name in it."""
        ...

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return the contents of some images, int64 [n], in their order."""
        ...


@dataclass(frozen=True)
class ImageList:
    """The images of a data set, in the order that gives them their index.

    `root` is the folder or file that was named. `paths` are the keys: paths with forward slashes, which
    name an image wherever it is kept. `targets` int64 [N] index `classes`; where images have no classes,
    `classes` is empty and every target is -1. `num_bytes` int64 [N] are the sizes of the images' files.
    `contents` are where their bytes are: None means files below `root`, at their keys.
    `left_out` counts the files that are not in the list, by their endings (".txt", "no ending"); hidden
    ones are not counted.
    """

    root: Path
    paths: Sequence[str]
    targets: NDArray[np.int64]
    num_bytes: NDArray[np.int64]
    classes: tuple[str, ...]
    contents: Contents | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def _contents(self) -> Contents:
        return self.contents or FolderFiles(os.fspath(self.root), self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def unlabelled(self) -> bool:
        """Whether the images have no classes."""
        return not self.classes

    def read(self, image_index: int) -> bytearray:
        """Return the bytes of one image, from any thread; raises `DecodeError` where there are none."""
        return self._contents.read(image_index)

    def name(self, image_index: int) -> str:
        """Say which image it is, for a message: its path, or an archive and its name in it."""
        return self._contents.name(image_index)

    def take(self, rows: NDArray[np.int64]) -> "ImageList":
        """Return the list of some images, int64 [n], in their order; the classes stay."""
        return replace(
            self,
            paths=Keys.of(self.paths).take(rows),
            targets=self.targets[rows],
            num_bytes=self.num_bytes[rows],
            contents=self._contents.take(rows),
        )

    def placed(self, keys: Keys, rows: NDArray[np.int64]) -> "ImageList":
        """Return the list of N `keys`, whose images are at `rows` of this one, int64 [N]; -1 for none.

        A key without an image has class -1 and no bytes, and reading it raises `DecodeError`.
        """
        there = rows >= 0
        return replace(
            self,
            paths=keys,
            targets=np.where(there, self.targets[rows], -1),
            num_bytes=np.where(there, self.num_bytes[rows], 0),
            contents=_Placed(self._contents, keys, rows, str(self.root)),
        )

    def of_classes(self, chosen: NDArray[np.bool_]) -> "ImageList":
        """Return the list of the images of some classes, bool [classes], and of these classes alone."""
        part = self.take(np.flatnonzero(chosen[self.targets]))
        number = np.cumsum(chosen) - 1
        names = tuple(name for name, taken in zip(self.classes, chosen, strict=True) if taken)
        return replace(part, targets=number[part.targets], classes=names)


@dataclass(frozen=True)
class _Placed:
    """The contents of N keys: those at `rows`, int64 [N], of `contents`; -1 has none in `root`."""

    contents: Contents
    keys: Keys
    rows: NDArray[np.int64]
    root: str

    def read(self, image_index: int) -> bytearray:
        row = int(self.rows[image_index])
        if row < 0:
            raise DecodeError(self.name(image_index), "missing", f"it is not in {self.root}")
        return self.contents.read(row)

    def name(self, image_index: int) -> str:
        row = int(self.rows[image_index])
        return self.keys[image_index] if row < 0 else self.contents.name(row)

    def take(self, rows: NDArray[np.int64]) -> "_Placed":
        return replace(self, keys=self.keys.take(rows), rows=self.rows[rows])
