"""The rows of tables, gathered file by file, as an index."""

import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.containers import Index, Pieces, Places, import_pyarrow
from fkd.errors import ImagesError, first_line
from fkd.tables.columns import Columns, find_columns, refuse_paths
from fkd.tables.keys import ordered_keys


@contextmanager
def telling(file: str, format_name: str) -> Iterator[None]:
    """Turn what goes wrong in a file into one line."""
    try:
        yield
    except ImagesError:
        raise
    except FileNotFoundError as error:
        raise ImagesError(f"{file} is missing; bring it back, or do not list it") from error
    except (OSError, ValueError, EOFError, MemoryError, import_pyarrow().ArrowException) as error:
        if isinstance(error, OSError) and error.strerror:
            raise ImagesError(
                f"{file} cannot be read ({error.strerror}); see to its permissions"
            ) from error
        raise ImagesError(
            f"{file} cannot be read as {format_name} ({first_line(error):.200}); it is cut short, "
            "damaged or of another format: copy it anew"
        ) from error


class TableRows:
    """Rows of the files of one table. Of each file: `open`, its places and columns, then `close`."""

    def __init__(self, files: Sequence[str], paths: Sequence[str], *, unlabelled: bool) -> None:
        """Take the files' names, relative to the root, and their paths."""
        self.files, self.paths, self.unlabelled = files, paths, unlabelled
        self.columns: Columns | None = None
        self._counts: list[int] = []
        self._places: list[Places] = []
        self._texts: list[Any] = []
        self._labels: list[NDArray[np.int64]] = []
        self._numbers: dict[str, int] = {}
        self._pieces = array("q")

    def open(self, schema: Any) -> Columns:
        """Begin with the next file, and say which of its columns to read."""
        path = self.paths[len(self._counts)]
        columns = find_columns(schema, path, unlabelled=self.unlabelled)
        if self.columns not in (None, columns):
            raise ImagesError(
                f"{path} has other columns or classes than {self.paths[0]}; files of one data set have "
                "the same: name files of one split"
            )
        self.columns = columns
        self._first = len(self._places), len(self._texts), len(self._labels)
        return columns

    def new_piece(self, offset: int = 0, stored: int = 0, raw: int = 0, codec: int = 0) -> int:
        """Number a run of bytes of the file; without arguments, the whole file."""
        piece = (len(self._counts), offset, stored, raw, codec)
        if not codec and self._pieces[-5:].tolist() == list(piece):
            return len(self._pieces) // 5 - 1
        self._pieces.extend(piece)
        return len(self._pieces) // 5 - 1

    def add_places(self, places: Places) -> None:
        """Take where the images of the next rows lie."""
        self._places.append(places)

    def add_columns(self, labels: Any, paths: Any) -> None:
        """Take arrays of the classes and the paths of the next rows, None where none are asked for."""
        if paths is not None:
            self._texts.append(paths)
        if labels is not None:
            self._labels.append(self._as_numbers(labels))

    def _as_numbers(self, labels: Any) -> NDArray[np.int64]:
        """Return classes as numbers, int64, -1 where there is none; names are numbered as they come."""
        arrow = import_pyarrow()
        numbers: NDArray[np.int64]
        if arrow.types.is_dictionary(labels.type):
            labels = labels.dictionary_decode()
        if arrow.types.is_integer(labels.type) or arrow.types.is_boolean(labels.type):
            numbers = labels.cast(arrow.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
            return numbers
        labels.validate(full=True)
        coded = labels.dictionary_encode()
        names = coded.dictionary.to_pylist()
        table = [
            self._numbers.setdefault(name, len(self._numbers)) if name else -1 for name in names
        ]
        positions = coded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)
        numbers = np.array([*table, -1], np.int64)[positions]
        return numbers

    def close(self) -> None:
        """End a file: refuse rows without an image or a class."""
        number = len(self._counts)
        path, columns = self.paths[number], self.columns
        assert columns is not None
        first_places, first_texts, first_labels = self._first
        num_bytes = [places.num_bytes for places in self._places[first_places:]]
        texts, labels = self._texts[first_texts:], self._labels[first_labels:]
        rows = sum(map(len, num_bytes))
        for part, there in ((texts, columns.path), (labels, columns.label)):
            if there and sum(map(len, part)) != rows:
                raise ValueError("its columns are not of one length")
        lacking = _first_row(num_bytes)
        if lacking is not None:
            if columns.path and _text_at(texts, lacking):
                refuse_paths(path, columns.image)
            raise ImagesError(f"row {lacking:,} of {path} has no image; write the table without it")
        self._refuse_labels(path, columns, labels)
        self._counts.append(rows)

    def _refuse_labels(
        self, path: str, columns: Columns, labels: Sequence[NDArray[np.int64]]
    ) -> None:
        row = _first_row(labels)
        if row is not None:
            raise ImagesError(
                f"row {row:,} of {path} has no class (-1 or none in its column {columns.label!r}); take "
                "the images without classes (--unlabelled), or write the table without such rows"
            )
        if columns.class_names is not None:
            most = len(columns.class_names) - 1
            row = _first_row([most - part for part in labels])
            if row is not None:
                raise ImagesError(
                    f"row {row:,} of {path} has a class beyond {most}, the last that its column "
                    f"{columns.label!r} names; name all classes"
                )

    def index(self) -> Index:
        """Return all rows in the order of their keys."""
        columns = self.columns
        rows = sum(self._counts)
        if columns is None or not rows:
            raise ImagesError(
                f"{', '.join(self.paths)[:300]}: there are no images in the table; name another"
            )
        names = [
            file or os.path.basename(path)
            for file, path in zip(self.files, self.paths, strict=True)
        ]
        keys, order = ordered_keys(self._texts if columns.path else None, names, self._counts)
        labels, classes = self._classes(columns)
        table = np.array(self._pieces, np.int64).reshape(-1, 5)
        return Index(
            tuple(self.files),
            keys,
            labels[order] if columns.label else np.full(rows, -1, np.int64),
            classes,
            np.concatenate([places.num_bytes for places in self._places])[order],
            np.concatenate([places.piece for places in self._places])[order],
            np.concatenate([places.start for places in self._places])[order],
            Pieces(*(table[:, 0].astype(np.int32), *table[:, 1:4].T, table[:, 4].astype(np.uint8))),
        )

    def _classes(self, columns: Columns) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Return the class of every row, and the names: as declared, or those that occur, sorted."""
        if columns.label is None:
            return np.empty(0, np.int64), ()
        labels = np.concatenate(self._labels)
        if columns.class_names is not None:
            return labels, columns.class_names
        if not columns.named:
            numbers, labels = np.unique(labels, return_inverse=True)
            return labels, tuple(map(str, numbers.tolist()))
        classes = sorted(self._numbers)
        if any("\0" in name for name in classes):
            raise ImagesError(
                f"{self.paths[0]}: a class of its column {columns.label!r} has a zero byte in its name; "
                "rename it"
            )
        position = np.empty(len(classes), np.int64)
        position[[self._numbers[name] for name in classes]] = np.arange(len(classes))
        return position[labels], tuple(classes)


def _first_row(parts: Sequence[NDArray[np.int64]]) -> int | None:
    """Return the first row whose number is negative."""
    row = 0
    for part in parts:
        negative = np.flatnonzero(part < 0)
        if len(negative):
            return row + int(negative[0])
        row += len(part)
    return None


def _text_at(parts: Sequence[Any], row: int) -> str | None:
    for part in parts:
        if row < len(part):
            text: str | None = part[row].as_py()
            return text
        row -= len(part)
    return None
