"""The keys of images: names in one piece of memory, since 14 million strings would fill a gigabyte."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import overload

import numpy as np
from numpy.typing import NDArray

# Names that are decoded, or taken, at a time.
_AT_ONCE = 1 << 16

# Bytes of the text that are searched at a time.
_TEXT_AT_ONCE = 1 << 26


class Keys(Sequence[str]):
    """N names, each a path with forward slashes, in one text.

    `text` u8 is UTF-8 (bytes that are none are kept by surrogate escapes), each name ended by a zero
    byte, as a store keeps it. Names of one text are equal where the texts are.
    """

    def __init__(self, text: NDArray[np.uint8]) -> None:
        """Take a text that ends with a zero byte, or is empty."""
        self.text = text
        parts = [
            slice(first, first + _TEXT_AT_ONCE) for first in range(0, len(text), _TEXT_AT_ONCE)
        ]
        count = sum(len(text[part]) - np.count_nonzero(text[part]) for part in parts)
        self._ends: NDArray[np.int64] = np.empty(count, np.int64)
        filled = 0
        for part in parts:
            ends = np.flatnonzero(text[part] == 0)
            self._ends[filled : filled + len(ends)] = ends + part.start
            filled += len(ends)

    @classmethod
    def of(cls, names: Iterable[str]) -> "Keys":
        """Gather names, none of which holds a zero byte."""
        if isinstance(names, Keys):
            return names
        text = "".join(f"{name}\0" for name in names)
        return cls(np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Keys": ...
    def __getitem__(self, index: int | slice) -> "str | Keys":
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        row = range(len(self))[index]
        start = int(self._ends[row - 1]) + 1 if row else 0
        return self.text[start : self._ends[row]].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self._ends[_AT_ONCE - 1 :: _AT_ONCE].tolist():
            yield from _names(self.text[start : end + 1])
            start = end + 1
        yield from _names(self.text[start:])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Keys):
            return np.array_equal(self.text, other.text)
        return list(self) == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Keys({list(self[:3])}{' …' if len(self) > 3 else ''}, {len(self):,} in all)"

    def take(self, rows: NDArray[np.int64]) -> "Keys":
        """Return the names of rows, int64 [n], in their order."""
        parts = [
            self._text_of(rows[first : first + _AT_ONCE]) for first in range(0, len(rows), _AT_ONCE)
        ]
        return Keys(np.concatenate(parts) if parts else np.empty(0, np.uint8))

    def places_of(self, names: "Keys") -> NDArray[np.int64]:
        """Return where each of some names is among these, int64 [n], -1 where it is not."""
        if self == names:
            return np.arange(len(names))
        place = {name: row for row, name in enumerate(self)}
        return np.fromiter(map(place.get, names, repeat(-1)), np.int64, len(names))

    def _text_of(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the text of some rows: position p of it is one of a name's bytes, from its start on."""
        starts = np.where(rows > 0, self._ends[rows - 1] + 1, 0)
        lengths = self._ends[rows] + 1 - starts
        shift = np.repeat(starts - (lengths.cumsum() - lengths), lengths)
        text: NDArray[np.uint8] = self.text[shift + np.arange(len(shift))]
        return text


def _names(text: NDArray[np.uint8]) -> list[str]:
    return text.tobytes().decode("utf-8", "surrogateescape").split("\0")[:-1]


def key_order(key: str) -> tuple[str, str]:
    """Return what all keys are sorted by: the class folder first, then the whole path."""
    return key.split("/", 1)[0], key
