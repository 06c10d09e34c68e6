"""What a container holds, as an index of it says: images by key, and where the bytes of each begin."""

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
    """Where the bytes of one image are: in a piece, from `start` on."""

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


def make_index(
    files: Sequence[str],
    keys: Sequence[str],
    labels: Sequence[int],
    classes: Sequence[str],
    places: Sequence[Place],
    left_out: Mapping[str, int],
) -> Index:
    """Put images into the order of their keys, and number the pieces that they lie in."""
    order = sorted(range(len(keys)), key=lambda row: key_order(keys[row]))
    numbers: dict[tuple[int, int, int, int, int], int] = {}
    piece = np.empty(len(order), np.int32)
    for row, image in enumerate(order):
        p = places[image]
        key = (p.file, p.offset, p.stored, p.raw, p.codec)
        piece[row] = numbers.setdefault(key, len(numbers))
    table = np.array(list(numbers), np.int64).reshape(-1, 5)
    return Index(
        tuple(files),
        Keys.of(keys[image] for image in order),
        np.fromiter((labels[image] for image in order), np.int64, len(order)),
        tuple(classes),
        np.fromiter((places[image].num_bytes for image in order), np.int64, len(order)),
        piece,
        np.fromiter((places[image].start for image in order), np.int64, len(order)),
        Pieces(
            table[:, 0].astype(np.int32),
            table[:, 1],
            table[:, 2],
            table[:, 3],
            table[:, 4].astype(np.uint8),
        ),
        dict(left_out),
    )
