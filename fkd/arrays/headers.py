"""What a stored file claims to hold, read from its headers before anything of that size is allocated.

A few bytes of zstd can stand for gigabytes of zeros, and a shard's index can point anywhere. A file of a
store has one right size for each chunk; one that claims another is refused before it is decompressed.
"""

import math
import struct
from collections.abc import Sequence

import numpy as np

from fkd.arrays.parts import within
from fkd.files import Files
from fkd.format import ArrayLayout

CRC_BYTES = 4
_ABSENT = 2**64 - 1

# blosc 1: version, version of the codec, flags, item size; then bytes, block size, compressed bytes
_BLOSC = struct.Struct("<BBBBIII")
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_HEADER = 18  # bytes, at most
_READ_WHOLE = 2**20
_RUN = 1  # the kind of block that is one byte, repeated

# What incompressible chunks may take beyond their content: headers, block tables, checksums.
_SLACK = 65_536

# Names differ, so they compress 230-fold at best, to half a byte each: numbered in order below a long
# folder name. All else that a reader allocates is bounded by the number of images and classes.
_MAX_TEXT_RATIO = 400
_NAMES_A_BYTE = 16


def fault(
    files: Files,
    key: str,
    layout: ArrayLayout,
    number: int = 0,
    chunks: Sequence[int] | None = None,
) -> str | None:
    """Say why a file of a store must not be decompressed, or return None.

    It is that of block `number`. Of a shard, the headers of these `chunks` are looked at, None for all.
    Raises `OSError` where the file cannot be read, `FileNotFoundError` where it is not there.
    """
    flaw = files.flaw(key)
    if flaw is not None:
        return flaw
    size = files.size(key)
    whole = layout.shards or layout.chunks
    most = math.prod(whole) * np.dtype(layout.dtype).itemsize
    num_chunks = math.prod(whole) // math.prod(layout.chunks)
    if size > most + most // 64 + num_chunks * 64 + _SLACK:
        return f"{size:,} bytes are more than it can hold"
    if layout.shards is not None:
        return _shard_fault(files, key, size, layout, number, chunks)
    if layout.coding == "text" and most > _MAX_TEXT_RATIO * files.bytes_on_disk(key) + _SLACK:
        return f"{most:,} bytes of names do not come out of {size:,}"
    return _zstd_fault(files, key, size - CRC_BYTES, layout.chunk_bytes)


def too_many_names(size: int, count: int) -> str | None:
    """Say why a list that takes `size` bytes cannot hold `count` names, or return None."""
    if count > _NAMES_A_BYTE * size + _SLACK:
        return f"{count:,} names do not come out of {size:,} bytes"
    return None


def index_bytes(layout: ArrayLayout) -> int:
    """Return the bytes of a shard's index, which stands at its end."""
    whole = layout.shards or layout.chunks
    return 16 * (math.prod(whole) // math.prod(layout.chunks)) + CRC_BYTES


def shard_index(files: Files, key: str, size: int, layout: ArrayLayout) -> list[tuple[int, int]]:
    """Return where each chunk of a shard of `size` bytes lies: offset and length."""
    index = files.read(key, size - index_bytes(layout), size - CRC_BYTES)
    entries = np.frombuffer(index, "<u8").reshape(-1, 2).tolist()
    return [(offset, length) for offset, length in entries]


def _shard_fault(
    files: Files,
    key: str,
    size: int,
    layout: ArrayLayout,
    number: int,
    chunks: Sequence[int] | None,
) -> str | None:
    """Check a shard's index, and the header of every chunk, or of some.

    The last block's shard has no chunks of images that there are not, and so it is with crops.
    """
    end = size - index_bytes(layout)
    if end < 0:
        return f"{size} bytes cannot hold its index"
    entries = shard_index(files, key, size, layout)
    inside = within(layout, number)
    for offset, length in (entries[chunk] for chunk in inside):
        if offset == length == _ABSENT:
            return "a chunk is not there"
        if offset + length > end or length < _BLOSC.size + CRC_BYTES:
            return "its index points outside of it"
    entries = [entries[chunk] for chunk in (inside if chunks is None else chunks)]
    heads = files.read_parts(key, [(offset, offset + _BLOSC.size) for offset, _ in entries])
    for head, (_, length) in zip(heads, entries, strict=True):
        wrong = _blosc_fault(head, length - CRC_BYTES, layout)
        if wrong:
            return wrong
    return None


def _blosc_fault(header: bytes, length: int, layout: ArrayLayout) -> str | None:
    _, _, _, itemsize, claimed, block_bytes, compressed = _BLOSC.unpack(header)
    if claimed != layout.chunk_bytes:
        return f"a chunk claims {claimed:,} bytes, not {layout.chunk_bytes:,}"
    if compressed != length or block_bytes > claimed or itemsize != np.dtype(layout.dtype).itemsize:
        return "the header of a chunk is wrong"
    return None


def _zstd_fault(files: Files, key: str, length: int, expected: int) -> str | None:
    """Check that one zstd frame (RFC 8878, 3.1.1), of the chunk's size, fills `length` bytes.

    Nothing may follow the frame, since a decoder would go on with it. Of a file that claims to be large,
    the headers alone are read.
    """
    content = files.read(key) if length <= _READ_WHOLE else None
    header = files.read(key, 0, _ZSTD_HEADER) if content is None else content[:_ZSTD_HEADER]
    if header[:4] != _ZSTD_MAGIC or len(header) < 6:
        return "it is no zstd frame"
    descriptor = header[4]
    single_segment = descriptor >> 5 & 1
    start = 5 + (1 - single_segment) + (0, 1, 2, 4)[descriptor & 3]
    width = (single_segment, 2, 4, 8)[descriptor >> 6]
    claimed = int.from_bytes(header[start : start + width], "little") + (256 if width == 2 else 0)
    if width == 0 or claimed != expected:
        return f"it claims {claimed if width else 'an unknown number of'} bytes, not {expected:,}"
    place, last = start + width, False
    while not last and place < length:
        stop = place + 3
        head = files.read(key, place, stop) if content is None else content[place:stop]
        block = int.from_bytes(head, "little")
        last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
        place += 3 + (1 if kind == _RUN else size)
    place += CRC_BYTES if descriptor >> 2 & 1 else 0
    return None if last and place == length else "it does not end with its frame"
