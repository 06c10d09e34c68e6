"""What a container holds, as an index of it says: images by key, and where the bytes of each begin."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fkd.images import Keys, key_order

# How the bytes of a piece are stored. The position is the code in an index.
CODECS = ("stored", "deflate", "snappy", "gzip", "zstd", "brotli", "lz4_raw", "snappy_blocks")


@dataclass(frozen=True)
class Pieces:
    """The runs of bytes, B in all, in which images lie: a whole file, or what is compressed as one.

    `file` int32 [B] is a position in a list of files, `offset` and `stored` int64 [B] say where in it the
    piece lies; `raw` int64 [B] are its bytes once `codec` u8 [B], a position in `CODECS`, is undone.
    """

    file: NDArray[np.int32]
    offset: NDArray[np.int64]
    stored: NDArray[np.int64]
    raw: NDArray[np.int64]
    codec: NDArray[np.uint8]


@dataclass(frozen=True)
class Place:
    """Where the bytes of one image are: in file number `file`, from `start` on.

    Where they are compressed, `start` counts within the piece of `raw` bytes that `codec`, a position in
    `CODECS`, makes of the `stored` bytes from `offset` on.
    """

    file: int
    start: int
    num_bytes: int
    offset: int = 0
    stored: int = 0
    raw: int = 0
    codec: int = 0


@dataclass(frozen=True)
class Places:
    """Where the bytes of n images are, as an `Index` has it: int32, int64, int64 [n].

    A row of a table that has no image has -1 bytes.
    """

    piece: NDArray[np.int32]
    start: NDArray[np.int64]
    num_bytes: NDArray[np.int64]


@dataclass(frozen=True)
class Index:
    """The images of a container in their order, N in all.

    `files` are the container's files, relative to its root. `labels` int64 [N] index `classes`, -1 where
    an image has none; `classes` is empty where no image has one. Image i is `num_bytes[i]` bytes (int64
    [N]) of piece `piece[i]` (int32 [N]), from `start[i]` (int64 [N]) on. `left_out` counts what is in the
    container and not in the list, by ending.
    """

    files: tuple[str, ...]
    keys: Keys
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    num_bytes: NDArray[np.int64]
    piece: NDArray[np.int32]
    start: NDArray[np.int64]
    pieces: Pieces
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)


class PlaceList:
    """Places of many images, gathered one by one in little memory."""

    def __init__(self, numbers: "array[int] | None" = None) -> None:
        """Begin with none."""
        self._numbers = array("q") if numbers is None else numbers

    def add(self, place: Place) -> None:
        """Add the place of the next image."""
        self._numbers.extend(
            (
                place.file, place.start, place.num_bytes,
                place.offset, place.stored, place.raw, place.codec,
            )
        )  # fmt: skip

    def table(self) -> NDArray[np.int64]:
        """Return the fields of the places, in their order, int64 [N, 7]."""
        return np.frombuffer(self._numbers, np.int64).reshape(-1, 7)

    def take(self, rows: NDArray[np.int64]) -> "PlaceList":
        """Return the places of some images, int64 [n], in their order."""
        return PlaceList(array("q", self.table()[rows].tobytes()))


def make_index(
    files: Sequence[str],
    keys: Sequence[str],
    labels: Sequence[int] | NDArray[np.int64],
    classes: Sequence[str],
    places: Sequence[Place] | PlaceList,
    left_out: Mapping[str, int],
) -> Index:
    """Put images into the order of their keys, and number the pieces that they lie in.

    What is stored as it is lies in the piece that is the whole file: the pieces begin with those.
    """
    if not isinstance(places, PlaceList):
        gathered = PlaceList()
        for place in places:
            gathered.add(place)
        places = gathered
    order = np.array(sorted(range(len(keys)), key=lambda row: key_order(keys[row])), np.int64)
    file, start, num_bytes, offset, stored, raw, codec = places.table()[order].T
    packed = np.flatnonzero(codec)
    _, first, number = np.unique(
        file[packed] << 48 | offset[packed], return_index=True, return_inverse=True
    )
    piece, example = file.astype(np.int32), packed[first]
    piece[packed] = len(files) + number
    whole, nothing = np.arange(len(files)), np.zeros(len(files), np.int64)
    return Index(
        tuple(files),
        Keys.of(keys[row] for row in order.tolist()),
        np.asarray(labels, np.int64)[order],
        tuple(classes),
        num_bytes.copy(),
        piece,
        start.copy(),
        Pieces(
            np.concatenate([whole, file[example]]).astype(np.int32),
            np.concatenate([nothing, offset[example]]),
            np.concatenate([nothing, stored[example]]),
            np.concatenate([nothing, raw[example]]),
            np.concatenate([nothing, codec[example]]).astype(np.uint8),
        ),
        dict(left_out),
    )
