"""The values of a page of a parquet file: in the file as they are, decompressed, or in blocks of snappy.

A page often holds a hundred images, since writers look at its size after as many rows as they take at a
time. A page of snappy need not be decompressed for one of them: its compressor begins anew every 64 KiB,
so that some blocks in a row are, after a header of their own, a text of snappy too.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.containers import CODECS, Places, import_pyarrow
from fkd.images import MAX_IMAGE_BYTES
from fkd.tables.parquet_encodings import PageHeader

# A page of more bytes that was compressed to less than a thousandth holds no images.
_LARGE_PAGE = 1 << 26
_MOST_TIMES = 1100

# What the compressor of snappy takes at a time, and the pages of which one image needs a part only.
_BLOCK = 1 << 16
_MANY_BLOCKS = 4 * _BLOCK

_SNAPPY, _SNAPPY_BLOCKS = CODECS.index("snappy"), CODECS.index("snappy_blocks")

Read = Callable[[int, int], Any]
NewPiece = Callable[..., int]


@dataclass(frozen=True)
class Body:
    """The values of a page: bytes `first` to `end` of what `read(offset, count)` gives.

    That is the piece of number `piece`, or where there are `blocks`, a page in blocks of 64 KiB: block i
    lies at `blocks[i]` to `blocks[i + 1]` of the file, int64.
    """

    first: int
    end: int
    read: Read
    new_piece: NewPiece
    piece: int = 0
    blocks: NDArray[np.int64] | None = None

    def after(self, count: int) -> "Body":
        """Return what comes after `count` bytes; raises `ValueError` where there are fewer."""
        if count > self.end - self.first:
            raise ValueError("a page is too short for its levels")
        return replace(self, first=self.first + count)

    def places(self, starts: NDArray[np.int64], num_bytes: NDArray[np.int64]) -> Places:
        """Say where values lie that begin at `starts`, int64 [n]."""
        if self.blocks is None:
            return Places(np.full(len(starts), self.piece, np.int32), starts, num_bytes)
        first, last = starts // _BLOCK, np.maximum(starts + num_bytes - 1, starts) // _BLOCK
        last = np.minimum(last, len(self.blocks) - 2)  # an image of no bytes may begin at the end
        first = np.minimum(first, last)
        new = np.ones(
            len(starts), np.bool_
        )  # small images that follow each other share their blocks
        new[1:] = (np.diff(first) != 0) | (np.diff(last) != 0)
        pieces = []
        for one, other in zip(first[new].tolist(), last[new].tolist(), strict=True):
            offset, end = self.blocks[[one, other + 1]].tolist()
            raw = min((other + 1) * _BLOCK, self.end) - one * _BLOCK
            pieces.append(self.new_piece(offset, end - offset, raw, _SNAPPY_BLOCKS))
        piece = np.array(pieces, np.int32)[np.cumsum(new) - 1]
        return Places(piece, starts - first * _BLOCK, num_bytes)


def open_body(read: Read, codec: int, header: PageHeader, offset: int, new_piece: NewPiece) -> Body:
    """Open the part of a page that may be compressed, which begins at `offset` of the file.

    `new_piece(offset, stored, raw, codec)` numbers a part of the file, `new_piece()` the whole file.
    Raises `ValueError` or `OSError` where the page does not hold what its header says.
    """
    levels = header.repetition_bytes + header.level_bytes
    stored, raw = header.stored - levels, header.raw - levels
    if not codec or not header.packed or not stored:
        return Body(offset, offset + stored, read, new_piece, new_piece())
    if raw > MAX_IMAGE_BYTES or raw > max(_LARGE_PAGE, _MOST_TIMES * stored):
        raise ValueError(f"a page of {stored:,} bytes says that it holds {raw:,}")
    packed = read(offset, stored)
    whole = memoryview(_unpacked(CODECS[codec], packed, raw))
    body = Body(0, raw, lambda at, count: whole[at : at + count], new_piece)
    blocks = snappy_blocks(packed, raw) if codec == _SNAPPY and raw > _MANY_BLOCKS else None
    if blocks is not None:
        return replace(body, blocks=offset + blocks)
    return replace(body, piece=new_piece(offset, stored, raw, codec))


def _unpacked(codec: str, packed: Any, raw: int) -> Any:
    """Decompress a page that holds `raw` bytes, neither more nor less."""
    pyarrow = import_pyarrow()
    whole = pyarrow.Codec(codec).decompress(packed, decompressed_size=raw)
    if codec != "zstd" and raw:
        # Where less comes out pyarrow leaves the rest as memory was, except with zstd.
        try:
            pyarrow.Codec(codec).decompress(packed, decompressed_size=raw - 1)
        except (OSError, ValueError):
            return whole
        raise ValueError("a page holds fewer bytes than it says")
    return whole


def snappy_blocks(packed: bytes | bytearray, raw: int) -> NDArray[np.int64] | None:
    """Find the blocks of 64 KiB in a sound text of snappy, n in all: where each begins, and the end.

    Returns int64 [n + 1], or None where a block leans on an earlier one, as other compressors may do it.
    """
    at, done, begin = 0, 0, 0
    while packed[at] >= 128:  # the length, which is known
        at += 1
    at += 1
    starts = [at]
    while at < len(packed):
        tag = packed[at]
        if tag & 3:
            length, offset, size = _copy(packed, at, tag)
            if offset > done - begin:
                return None
        else:
            length, size = _literal(packed, at, tag)
        at += size
        done += length
        if done - begin > _BLOCK:
            return None
        if done - begin == _BLOCK and done < raw:
            starts.append(at)
            begin = done
    return np.array([*starts, at], np.int64)


def _literal(packed: bytes | bytearray, at: int, tag: int) -> tuple[int, int]:
    """Return how many bytes a literal gives, and how many it takes."""
    short = tag >> 2
    more = max(0, short - 59)
    length = 1 + (int.from_bytes(packed[at + 1 : at + 1 + more], "little") if more else short)
    return length, 1 + more + length


def _copy(packed: bytes | bytearray, at: int, tag: int) -> tuple[int, int, int]:
    """Return how many bytes a copy gives, how far back they are, and how many bytes it takes."""
    if tag & 3 == 1:
        return 4 + (tag >> 2 & 7), (tag >> 5) << 8 | packed[at + 1], 2
    size = 3 if tag & 3 == 2 else 5
    return 1 + (tag >> 2), int.from_bytes(packed[at + 1 : at + size], "little"), size
