"""The bytes of images in the middle of files: read by offset, from any thread."""

import os
import resource
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.containers.contents import CODECS, Index, Place
from fkd.errors import DecodeError, ImagesError, Reason, first_line
from fkd.images import MAX_IMAGE_BYTES

# Files that are kept open, at most, of one container; of more, the others are opened for each image.
_KEPT_OPEN = 512

# A piece that is compressed holds several images at most of about this many bytes in all.
_MAX_PIECE_BYTES = MAX_IMAGE_BYTES


class OpenFiles:
    """The files of a container, each opened when it is first read. Reading by offset needs no lock."""

    def __init__(self, root: Path, files: tuple[str, ...]) -> None:
        """Take paths relative to `root`; where `root` is the one file, its path is empty."""
        self.paths = [os.path.join(root, file) if file else os.fspath(root) for file in files]
        self._open: dict[int, int] = {}
        self._most_open = _most_open()
        self._lock = threading.Lock()

    def read(self, file: int, offset: int, count: int) -> bytearray:
        """Return `count` bytes from `offset` on; raises `OSError`, or `EOFError` at the file's end."""
        descriptor = self._open.get(file)
        if descriptor is None:
            descriptor = self._opened(file)
        try:
            buffer = bytearray(count)
            got = os.preadv(descriptor, [buffer], offset) if count else 0
            while got < count:  # a signal, or more than 2 GiB
                more = os.preadv(descriptor, [memoryview(buffer)[got:]], offset + got)
                if not more:
                    raise EOFError(f"the file ends {count - got:,} bytes before the image does")
                got += more
        finally:
            if file not in self._open:
                os.close(descriptor)
        return buffer

    def read_all(self, place: Place) -> bytes:
        """Return the bytes at a place, of a member that is no image; raises `ImagesError`."""
        try:
            if not place.codec:
                return bytes(self.read(place.file, place.start, place.num_bytes))
            packed = self.read(place.file, place.offset, place.stored)
            whole = _UNPACK[CODECS[place.codec]](packed, place.raw)
            return bytes(memoryview(whole)[place.start : place.start + place.num_bytes])
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise ImagesError(
                f"{self.paths[place.file]} cannot be read ({first_line(error)}); restore it"
            ) from error

    def _opened(self, file: int) -> int:
        with self._lock:
            if file in self._open:
                return self._open[file]
            descriptor = os.open(self.paths[file], os.O_RDONLY | os.O_CLOEXEC)
            if len(self._open) < self._most_open:
                self._open[file] = descriptor
            return descriptor

    def __del__(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)


def _most_open() -> int:
    """Return how many files a container may keep: two of them leave half to the rest of a process."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _KEPT_OPEN if limit == resource.RLIM_INFINITY else min(_KEPT_OPEN, limit // 4)


@dataclass(frozen=True)
class ContainedImages:
    """The bytes of the images of an index, or of some of them."""

    root: Path
    index: Index
    files: OpenFiles
    _last: threading.local = field(default_factory=threading.local, compare=False)

    @classmethod
    def of(cls, root: Path, index: Index) -> "ContainedImages":
        """Read the images of a container at `root`."""
        return cls(root, index, OpenFiles(root, index.files))

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process opens the files anew.
        return ContainedImages.of, (self.root, self.index)

    def read(self, image_index: int) -> bytearray:
        """Return the bytes of one image; raises `DecodeError` where there are none, or far too many."""
        index = self.index
        count, start = int(index.num_bytes[image_index]), int(index.start[image_index])
        piece = int(index.piece[image_index])
        codec = int(index.pieces.codec[piece])
        if count > MAX_IMAGE_BYTES:
            raise DecodeError(self.name(image_index), "too large", f"{count:,} bytes")
        try:
            if codec:
                whole = self._piece(piece, CODECS[codec])
                encoded = bytearray(memoryview(whole)[start : start + count])
            else:
                file, offset = int(index.pieces.file[piece]), int(index.pieces.offset[piece])
                encoded = self.files.read(file, offset + start, count)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            reason: Reason = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
            raise DecodeError(self.name(image_index), reason, first_line(error)) from error
        if len(encoded) != count:
            raise DecodeError(self.name(image_index), "unreadable", "its piece holds fewer bytes")
        if not encoded:
            raise DecodeError(self.name(image_index), "empty", "no bytes")
        return encoded

    def _piece(self, piece: int, codec: str) -> Any:
        """Return a piece's bytes, decompressed. A thread keeps its last one: neighbours share it."""
        if getattr(self._last, "number", None) != piece:
            pieces = self.index.pieces
            stored, raw = int(pieces.stored[piece]), int(pieces.raw[piece])
            if max(stored, raw) > _MAX_PIECE_BYTES:
                raise ValueError(f"a piece of {max(stored, raw):,} bytes is too large")
            packed = self.files.read(int(pieces.file[piece]), int(pieces.offset[piece]), stored)
            self._last.bytes, self._last.number = _UNPACK[codec](packed, raw), piece
        return self._last.bytes

    def name(self, image_index: int) -> str:
        """Return the file and the key of an image."""
        file = int(self.index.pieces.file[int(self.index.piece[image_index])])
        return f"{self.files.paths[file]}: {self.index.keys[image_index]}"

    def take(self, rows: NDArray[np.int64]) -> "ContainedImages":
        """Return some of the images, int64 [n], in their order."""
        index = self.index
        part = replace(
            index,
            keys=index.keys.take(rows),
            labels=index.labels[rows],
            num_bytes=index.num_bytes[rows],
            piece=index.piece[rows],
            start=index.start[rows],
        )
        return ContainedImages(self.root, part, self.files)


def _inflate(packed: bytearray, raw: int) -> bytes:
    """Undo deflate. Never more than `raw` bytes come out, whatever the stream holds."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    whole = stream.decompress(packed, raw)
    if len(whole) != raw or not (stream.eof or stream.decompress(stream.unconsumed_tail, 1) == b""):
        raise ValueError("it does not hold what its header says")
    return whole


def _arrow(codec: str) -> Callable[[bytearray, int], Any]:
    def unpack(packed: bytearray, raw: int) -> Any:
        pyarrow = import_pyarrow()
        return pyarrow.Codec(codec).decompress(packed, decompressed_size=raw)

    return unpack


def _snappy_blocks(packed: bytearray, raw: int) -> Any:
    """Undo some blocks of a text of snappy: they lack the length that it begins with."""
    length = bytearray()
    rest = raw
    while rest >= 128:
        length.append(rest & 127 | 128)
        rest >>= 7
    length.append(rest)
    return _arrow("snappy")(length + packed, raw)


_UNPACK: dict[str, Callable[[bytearray, int], Any]] = {
    "deflate": _inflate,
    **{codec: _arrow(codec) for codec in CODECS[2:-1]},
    "snappy_blocks": _snappy_blocks,
}


def import_pyarrow() -> Any:
    """Import pyarrow, or say how to get it."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise ImagesError(
            'parquet and Arrow files need pyarrow; install fkd with "pip install fkd[parquet]"'
        ) from error
    return pyarrow
