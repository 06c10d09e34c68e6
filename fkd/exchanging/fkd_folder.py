"""Where FKD's files lie: `train/CLASS/NAME.tar`, with an image's name up to its first dot.

The generator writes below the name of the data root, and the trainer is given that folder.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkd.errors import ConfigError
from fkd.exchanging.fkd_files import MAX_FILE_BYTES, FkdFile, image_of, parse_file
from fkd.exchanging.joint import ForeignImage, LabelFileError, Traits
from fkd.images import ImageList

ENDING = ".tar"
_FEW = 3  # files that a message names
_FIRST = 64  # images of a list that are looked for, to find where files lie


def label_name(key: str) -> str:
    """Return the name of an image's file in the folder of its class."""
    return key.rpartition("/")[2].split(".")[0] + ENDING


@dataclass(frozen=True)
class FkdLabels:
    """FKD's labels of the images of a list, in the folder `root` of class folders."""

    images: ImageList
    root: Path

    @classmethod
    def find(cls, labels: Path, images: ImageList) -> "FkdLabels":
        """Find the class folders at `labels`, or below it; raises `ConfigError` where there are none."""
        if not labels.is_dir():
            raise ConfigError(f"{labels} is no folder; name the folder of FKD's labels")
        places = [labels, labels / "train", *sorted(labels.glob("*/train"))]
        wanted = {images.classes[t] for t in images.targets[:: max(1, len(images) // _FIRST)]}
        found = [place for place in places if any((place / name).is_dir() for name in wanted)]
        if not found:
            some = sorted(wanted)[0]
            raise ConfigError(
                f"{labels} holds no labels of {images.root}: neither {some} nor train/{some} is in it, "
                f"nor */train/{some}; name the folder of FKD's labels"
            )
        if len(found) > 1:
            raise ConfigError(
                f"{labels} holds several label sets ({found[0]}, {found[1]}); name one of them"
            )
        return cls(images, found[0])

    def path(self, image_index: int) -> str:
        """Return the path of an image's file."""
        name = self.images.classes[int(self.images.targets[image_index])]
        return os.path.join(self.root, name, label_name(self.images.paths[image_index]))

    def traits(self) -> Traits:
        """Look at the first file that there is; raises `LabelFileError` where there is none."""
        missing = set(self.missing().tolist())
        first = next((n for n in range(len(self.images)) if n not in missing), None)
        if first is None:
            raise LabelFileError(str(self.root), "missing", "it has no file for any of the images")
        return self._file(first).traits

    def read(self, image_index: int, height: int, width: int, traits: Traits) -> ForeignImage:
        """Return the first M crops of an image, from any thread; raises `LabelFileError`."""
        if self._listed.shared[image_index]:
            raise LabelFileError(
                self.path(image_index),
                "missing",
                "it is of another image of the same name up to a dot",
            )
        file = self._file(image_index)
        return image_of(self.path(image_index), file, traits, (height, width))

    def _file(self, image_index: int) -> FkdFile:
        path = self.path(image_index)
        try:
            with open(path, "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if size > MAX_FILE_BYTES:
                    raise LabelFileError(path, "too large", f"{size:,} bytes")
                content = file.read(MAX_FILE_BYTES)
        except FileNotFoundError as error:
            raise LabelFileError(path, "missing", "no such file") from error
        except OSError as error:
            raise LabelFileError(path, "unreadable", error.strerror or str(error)) from error
        if not content:
            raise LabelFileError(path, "empty", "no bytes")
        return parse_file(path, content)

    def missing(self) -> NDArray[np.int64]:
        """Return the indices of the images that have no file, or share one, int64."""
        return np.flatnonzero(~self._listed.found)

    def extra(self) -> tuple[int, list[str]]:
        """Return how many files are of no image of the list, and the first few of them."""
        return self._listed.extra, self._listed.few

    @cached_property
    def _listed(self) -> "_Listed":
        """List the class folders, once."""
        targets, paths = self.images.targets, self.images.paths
        listed = _Listed(np.zeros(len(paths), np.bool_), np.zeros(len(paths), np.bool_))
        by_class = np.argsort(targets, kind="stable")
        for rows in np.split(by_class, np.flatnonzero(np.diff(targets[by_class])) + 1):
            name = self.images.classes[int(targets[rows[0]])]
            listed.look(self.root / name, [(row, paths[row]) for row in rows.tolist()])
        return listed


@dataclass
class _Listed:
    """Which images have a file, and which share one with an image before them, bool [N].

    The generator wrote the labels of the first such image alone. `extra` files are of no image, and
    `few` of them are named.
    """

    found: NDArray[np.bool_]
    shared: NDArray[np.bool_]
    extra: int = 0
    few: list[str] = field(default_factory=list)

    def look(self, folder: Path, images: list[tuple[int, str]]) -> None:
        """List the files of a class, whose images are these rows and keys."""
        names: dict[str, int] = {}
        for row, key in images:
            self.shared[row] = names.setdefault(label_name(key), row) != row
        for file in _files_in(folder):
            if file in names:
                self.found[names[file]] = True
                continue
            self.extra += 1
            if len(self.few) < _FEW:
                self.few.append(f"{folder.name}/{file}")


def _files_in(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if entry.name.endswith(ENDING))
    except FileNotFoundError:
        return
