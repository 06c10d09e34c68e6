"""What is in a tar archive, and where: ordinary members, and those of archives in it."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from fkd.archives.members import Member
from fkd.containers import Place
from fkd.errors import ImagesError, first_line

_BLOCK = 512
_AT_ONCE = 2**20

# What tarfile raises on headers that a stranger wrote.
_DAMAGE = (OSError, tarfile.TarError, EOFError, ValueError, ArithmeticError, LookupError)
_BOMBS = (RecursionError, MemoryError)


def scan_tar(path: Path, file: int) -> Iterator[Member]:
    """Yield the members of an archive, which is file number `file` of a container.

    Members of an archive in it, as in ILSVRC2012_img_train.tar, lie in a folder of that archive's name.
    Raises `ImagesError` for an archive that is compressed, damaged or cut short.
    """
    try:
        with path.open("rb") as content:
            yield from _scan(content, path, file, "", 0, os.path.getsize(path))
    except (*_DAMAGE, *_BOMBS) as error:
        raise ImagesError(_what_is_wrong(path, error)) from error


def _scan(
    content: IO[bytes], path: Path, file: int, folder: str, first: int, num_bytes: int
) -> Iterator[Member]:
    """Yield the members of the archive that lies in `num_bytes` of a file from `first` on."""
    content.seek(first)
    window = content if not first else cast("IO[bytes]", _Window(content, first, num_bytes))
    archive = tarfile.open(fileobj=window, mode="r:")  # noqa: SIM115  closed by whoever opened the file
    while (info := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # tarfile keeps all that it has seen
        name = f"{folder}{info.name}"
        if info.isreg() and not info.issparse():
            start = first + info.offset_data
            if info.offset_data + info.size > num_bytes:
                raise EOFError(f"{name} ends after the archive does")
            if name.lower().endswith(".tar") and not folder:
                stem = os.path.splitext(name)[0] + "/"
                yield from _scan(content, path, file, stem, start, info.size)
            else:
                yield Member(name, Place(file, start, info.size))
        elif not info.isdir():
            yield Member(name, None, what=_kind(info))
    _require_end(content, first, archive.offset, num_bytes)


def _kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return f"a link to {info.linkname}"
    return "a sparse file" if info.issparse() else "no ordinary file"


def _require_end(content: IO[bytes], first: int, end: int, num_bytes: int) -> None:
    """Raise `EOFError` unless zeros follow the members: tarfile stops at what it cannot read."""
    content.seek(first + end)
    block = content.read(min(_BLOCK, max(0, num_bytes - end)))
    if len(block) < _BLOCK:
        raise EOFError("it has no end mark")
    if any(block):
        raise EOFError(f"what lies at byte {end:,} is no header of a member")
    at = end + _BLOCK
    while at < num_bytes:
        rest = content.read(min(_AT_ONCE, num_bytes - at))
        if not rest:
            break
        if any(rest):
            raise EOFError(
                f"more follows after its end mark, at byte {at:,}, as where archives were appended"
            )
        at += len(rest)


def _what_is_wrong(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist"
    with path.open("rb") as content:
        start = content.read(6)
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        return (
            f"{path} is compressed, and an image in the middle of it cannot be read; decompress it to a "
            ".tar (images are compressed themselves, so it will hardly grow)"
        )
    return (
        f"{path} is no whole tar archive ({first_line(error)}): it was cut short, damaged, or is being "
        "written; restore it"
    )


class _Window:
    """A part of a file, as a file of its own that tarfile can read."""

    def __init__(self, content: IO[bytes], first: int, num_bytes: int) -> None:
        self._content, self._first, self._num_bytes, self._at = content, first, num_bytes, 0

    def read(self, count: int = -1) -> bytes:
        """Read up to `count` bytes."""
        left = max(0, self._num_bytes - self._at)
        self._content.seek(self._first + self._at)
        got = self._content.read(left if count < 0 else min(count, left))
        self._at += len(got)
        return got

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the part."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._num_bytes}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Return the place in the part."""
        return self._at
