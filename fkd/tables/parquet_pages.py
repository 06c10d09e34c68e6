"""Where the values of a column of a parquet file lie: its pages, read without taking the values.

pyarrow says where the chunks of a column are, and reads whole row groups. To read one image it takes the
place of one value: in the file itself, where pages are not compressed, else in a page.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.containers import Places
from fkd.errors import ImagesError
from fkd.tables.page_bodies import Body, NewPiece, Read, open_body
from fkd.tables.parquet_encodings import (
    DATA_PAGE,
    DATA_PAGE_V2,
    DICTIONARY_PAGE,
    PageHeader,
    read_page_header,
    read_runs,
)

# A header is read with this many bytes; with more where it holds statistics, at last with the most.
_HEADER_BYTES = (256, 1 << 16, 1 << 24)

# Bytes that are read at a time to find the lengths of values. The rest of a long image is skipped.
_WINDOW = 1 << 14

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Chunk:
    """The pages of a column in a row group: bytes `start` to `end` of a file, `rows` values in all.

    `codec` is a position in `CODECS`, `max_level` the definition level of a value that is there.
    """

    path: str
    start: int
    end: int
    rows: int
    codec: int
    max_level: int


def chunk_places(read: Read, chunk: Chunk, new_piece: NewPiece) -> Iterator[Places]:
    """Say where the values of a chunk lie, page by page.

    `read(offset, count)` gives bytes of the file. `new_piece(offset, stored, raw, codec)` numbers a part
    of it, `new_piece()` the whole. Raises `ValueError` or `EOFError` where the file is
    damaged, and `ImagesError` for an encoding that values cannot be read from one by one.
    """
    offset, rows = chunk.start, 0
    dictionary: Places | None = None
    while rows < chunk.rows:
        header = _header_at(read, offset, chunk.end)
        body = offset + header.size
        offset = body + header.stored
        if offset > chunk.end:
            raise ValueError("a page runs out of its column")
        if header.kind == DICTIONARY_PAGE:
            if header.num_values > chunk.rows:
                raise ValueError("a dictionary holds more values than there are rows")
            whole = open_body(read, chunk.codec, header, body, new_piece)
            dictionary = _plain(whole, header.num_values)
        elif header.kind in (DATA_PAGE, DATA_PAGE_V2):
            rows += header.num_values
            if rows > chunk.rows:
                raise ValueError("its pages hold more rows than its metadata says")
            yield _data_places(read, chunk, header, body, new_piece, dictionary)


def _header_at(read: Read, offset: int, end: int) -> PageHeader:
    for count in _HEADER_BYTES:
        try:
            return read_page_header(read(offset, min(count, end - offset)))
        except EOFError:
            if offset + count >= end or count == _HEADER_BYTES[-1]:
                raise
    raise AssertionError("unreachable")


def _data_places(
    read: Read,
    chunk: Chunk,
    header: PageHeader,
    offset: int,
    new_piece: NewPiece,
    dictionary: Places | None,
) -> Places:
    """Say where the values of one data page lie."""
    _refuse_encoding(chunk, header)
    levels: Any = b""
    if header.kind == DATA_PAGE_V2:
        levels = read(offset + header.repetition_bytes, header.level_bytes)
        offset += header.repetition_bytes + header.level_bytes
    body = open_body(read, chunk.codec, header, offset, new_piece)
    if header.kind == DATA_PAGE and chunk.max_level:
        after_length = body.after(4)
        (length,) = _LENGTH.unpack(body.read(body.first, 4))
        body = after_length.after(length)
        levels = body.read(after_length.first, length)
    there = _there(levels, chunk.max_level, header.num_values)
    count = int(there.sum())
    found = _plain(body, count) if header.encoding == "PLAIN" else _chosen(body, count, dictionary)
    if count == header.num_values:
        return found
    start, num_bytes = np.zeros(len(there), np.int64), np.full(len(there), -1, np.int64)
    piece = np.zeros(len(there), np.int32)
    piece[there], start[there], num_bytes[there] = found.piece, found.start, found.num_bytes
    return Places(piece, start, num_bytes)


def _refuse_encoding(chunk: Chunk, header: PageHeader) -> None:
    encoding = header.encoding
    if chunk.max_level and header.level_encoding != "RLE":
        encoding = header.level_encoding
    elif encoding in ("PLAIN", "PLAIN_DICTIONARY", "RLE_DICTIONARY"):
        return
    raise ImagesError(
        f"{chunk.path}: its images are encoded as {encoding}, from which none can be read alone; write "
        "the file anew with `pyarrow.parquet.write_table(table, path, compression='none')`"
    )


def _there(levels: Any, max_level: int, count: int) -> NDArray[np.bool_]:
    if not max_level:
        return np.ones(count, np.bool_)
    there: NDArray[np.bool_] = read_runs(levels, max_level.bit_length(), count) == max_level
    return there


def _plain(body: Body, count: int) -> Places:
    """Find `count` values, each after its length in four bytes."""
    if 4 * count > body.end - body.first:
        raise ValueError("a page holds fewer values than it says")
    starts, lengths = [0] * count, [0] * count
    at = base = body.first
    window: Any = b""
    for row in range(count):
        if at + 4 > base + len(window):
            if at + 4 > body.end:
                raise ValueError("a value runs out of its page")
            window, base = body.read(at, min(_WINDOW, body.end - at)), at
        (length,) = _LENGTH.unpack_from(window, at - base)
        starts[row], lengths[row] = at + 4, length
        at += 4 + length
    if at > body.end:
        raise ValueError("a value runs out of its page")
    return body.places(np.array(starts, np.int64), np.array(lengths, np.int64))


def _chosen(body: Body, count: int, dictionary: Places | None) -> Places:
    """Find `count` values, each given by its position in a dictionary."""
    if dictionary is None:
        raise ValueError("a page needs a dictionary, and none is before it")
    if not count:
        return Places(dictionary.piece[:0], dictionary.start[:0], dictionary.num_bytes[:0])
    text = body.read(body.first, body.end - body.first)
    if not len(text):
        raise ValueError("a page holds fewer values than it says")
    chosen = read_runs(text[1:], text[0], count)
    if int(chosen.max()) >= len(dictionary.start):
        raise ValueError("a page names a value that its dictionary has not")
    return Places(dictionary.piece[chosen], dictionary.start[chosen], dictionary.num_bytes[chosen])
