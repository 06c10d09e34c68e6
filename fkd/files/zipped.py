"""The files of a store in one zip archive: members that are not compressed, as zarr's ZipStore has them.

The directory is read once, and a member is a range of the archive. What could make two readers see
different stores, or one reader read what is no member, is refused when the archive is opened.
"""

import io
import struct
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fkd.errors import StoreError, first_line
from fkd.files.blob import Blob
from fkd.files.within import Within

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # its sign, and the lengths of name and extra field
_ENCRYPTED = 1
_LINK = 0o120000
_VIEW_BYTES = 2**16  # of a directory, read at once

# The directory's end, with a comment; the count of members that stands for one too large for it.
_MOST_END_BYTES = 22 + 0xFFFF
_IN_ZIP64 = 0xFFFF


@dataclass(frozen=True)
class _Member:
    header: int  # where its own header begins
    name_bytes: int
    size: int
    room: int  # from its header to what follows: another header, or the directory
    is_link: bool


class Zipped:
    """The members of a zip, each by its name."""

    def __init__(self, blob: Blob) -> None:
        """Read the directory; raises `StoreError` for what is no whole archive of stored members."""
        self._blob, self.where = blob, blob.where
        self._members = _members(blob)
        self._starts: dict[str, int] = {}  # of members whose own headers were looked at

    def __reduce__(self) -> tuple[Any, ...]:
        return Zipped, (self._blob,)

    def size(self, key: str) -> int:
        """Return the bytes of a member; raises `FileNotFoundError`."""
        return self._member(key).size

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes [start, stop) of a member; a negative `start` counts from its end."""
        size, first = self._member(key).size, self._start(key)
        start = max(0, size + start) if start < 0 else start
        stop = size if stop is None else min(stop, size)
        if start >= stop:
            return b""
        content = self._blob.read(first + start, first + stop)
        if len(content) != stop - start:
            raise OSError(f"{self.where} was cut short while it was read")
        return content

    def read_parts(self, key: str, parts: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several parts, (start, stop) each, of one member."""
        self.bring((key, start, stop) for start, stop in parts)
        return [self.read(key, start, stop) for start, stop in parts]

    def keys(self) -> Iterator[str]:
        """Yield the name of every member."""
        yield from self._members

    def flaw(self, key: str) -> str | None:
        """Say why a member must not be read, or return None."""
        return f"{self.where}: {key} is a link, and a store has none" if self._links(key) else None

    def bytes_on_disk(self, key: str) -> int:
        """Return the bytes that a member takes; of a sparse archive, all that this has."""
        return min(self.size(key), self._blob.bytes_on_disk())

    def below(self, name: str) -> Within:
        """Return the members whose names begin with "name/", by the rest of their names."""
        return Within(self, name)

    def bring(self, wanted: Iterable[tuple[str, int, int | None]]) -> None:
        """Have ranges of members near, many at once."""
        self._blob.bring(self._ranges(wanted))

    def is_near(self, key: str) -> bool:
        """Say whether all bytes of a member can be read without a network."""
        member = self._member(key)
        return self._blob.is_near(member.header, member.header + member.room)

    def forget(self, keys: Iterable[str]) -> None:
        """Drop what a cache holds of members that turned out damaged."""
        for key in keys:
            member = self._member(key)
            self._starts.pop(key, None)
            self._blob.forget(member.header, member.header + member.room)

    def _links(self, key: str) -> bool:
        return key in self._members and self._members[key].is_link

    def _member(self, key: str) -> _Member:
        member = self._members.get(key)
        if member is None:
            raise FileNotFoundError(f"{self.where} has no {key}")
        return member

    def _start(self, key: str) -> int:
        """Return where the bytes of a member begin, behind a header of its own."""
        start = self._starts.get(key)
        if start is None:
            member = self._member(key)
            end = _LOCAL_HEADER.size + member.name_bytes
            header = self._blob.read(member.header, member.header + end)
            if len(header) < end:
                raise OSError(f"{self.where} was cut short while it was read")
            sign, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(header)
            length = _LOCAL_HEADER.size + name_bytes + extra_bytes
            same = sign == b"PK\3\4" and header[_LOCAL_HEADER.size :] == key.encode()
            if not same or length + member.size > member.room:
                raise OSError(f"{self.where}: {key} is not where the archive's directory says")
            start = self._starts[key] = member.header + length
        return start

    def _ranges(self, wanted: Iterable[tuple[str, int, int | None]]) -> Iterator[tuple[int, int]]:
        """Yield ranges of the archive; members that were not looked at most likely fill their room."""
        for key, start, stop in wanted:
            member = self._members.get(key)
            if member is None:
                continue  # the reader will say so
            first = self._starts.get(key)
            if first is None:
                yield member.header, member.header + _LOCAL_HEADER.size + member.name_bytes
                first = member.header + member.room - member.size
            start = max(0, member.size + start) if start < 0 else start
            stop = member.size if stop is None else min(stop, member.size)
            yield first + start, first + max(start, stop)


def _members(blob: Blob) -> dict[str, _Member]:
    """Read the directory of an archive; raises `StoreError`."""
    view = None
    try:
        view = _View(blob)
        with zipfile.ZipFile(io.BufferedReader(view, _VIEW_BYTES)) as archive:
            infos = archive.infolist()
            _require_all(blob, len(infos))
            return _placed(infos, archive.start_dir)
    except FileNotFoundError as error:
        raise StoreError(f"label store {blob.where} does not exist") from error
    except OSError as error:
        raise StoreError(f"{blob.where} cannot be read ({first_line(error)})") from error
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, struct.error) as error:
        if view is not None and view.failure is not None:  # zipfile takes it for damage
            what = first_line(view.failure)
            raise StoreError(f"{blob.where} cannot be read ({what})") from view.failure
        raise StoreError(
            f"{blob.where} is no whole zip archive ({first_line(error)}): it was cut short, damaged, or "
            "is being written; make it anew with `fkd copy`"
        ) from error
    except _Unfit as error:
        raise StoreError(
            f"{blob.where}: {error}; make the archive with `fkd copy`, or with `zip -0 -r` in the folder "
            "of the store"
        ) from error


class _Unfit(Exception):
    """An archive that is whole, and no store can be read from."""


def _placed(infos: list[zipfile.ZipInfo], end: int) -> dict[str, _Member]:
    """Return the members by name, after each was found to have room of its own before `end`."""
    members: dict[str, _Member] = {}
    infos = sorted(infos, key=lambda info: info.header_offset)
    follows = [*(info.header_offset for info in infos[1:]), end]
    for info, following in zip(infos, follows, strict=True):
        # zipfile cuts a name at a zero and turns the slashes of Windows: take it as it is written.
        name = info.orig_filename
        _require_fit(info, name)
        name_bytes, room = len(name.encode()), following - info.header_offset
        if info.header_offset < 0 or _LOCAL_HEADER.size + name_bytes + info.file_size > room:
            raise _Unfit(f"its member {name!r:.80} reaches into what follows it")
        if name in members:
            raise _Unfit(f"it has two members {name!r:.80}")
        if not info.is_dir():
            is_link = info.external_attr >> 16 & 0o170000 == _LINK
            members[name] = _Member(info.header_offset, name_bytes, info.file_size, room, is_link)
    return members


def _require_fit(info: zipfile.ZipInfo, name: str) -> None:
    """Refuse a member that is not simply its bytes, or has a name that leads elsewhere."""
    if info.flag_bits & _ENCRYPTED:
        raise _Unfit(f"its member {name!r:.80} is encrypted")
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise _Unfit(f"its member {name!r:.80} is compressed, and cannot be read by ranges")
    parts = name.removesuffix("/").split("/")
    if {"", ".", ".."} & {*parts} or "\\" in name or "\0" in name or ":" in parts[0]:
        raise _Unfit(f"its member {name!r:.80} has a name that leads out of it")


def _require_all(blob: Blob, count: int) -> None:
    """Raise `EOFError` unless the directory has as many members as its end says: zipfile counts none."""
    size = blob.size
    rest = blob.read(max(0, size - _MOST_END_BYTES), size)
    end = rest.rfind(b"PK\5\6")
    said = int.from_bytes(rest[end + 10 : end + 12], "little")
    if said not in (count, _IN_ZIP64):
        raise EOFError(f"its directory has {count:,} members and says {said:,}")


class _View(io.RawIOBase):
    """A blob as the file that zipfile wants."""

    def __init__(self, blob: Blob) -> None:
        self._blob, self._size, self._place = blob, blob.size, 0
        self.failure: OSError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = (0, self._place, self._size)[whence]
        if base + offset < 0:
            raise ValueError("it is shorter than its end says")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        try:
            content = self._blob.read(self._place, min(self._place + len(buffer), self._size))
        except OSError as error:
            self.failure = error
            raise
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)
