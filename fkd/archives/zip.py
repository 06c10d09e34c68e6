"""What is in a zip archive, and where."""

import os
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fkd.archives.members import Member
from fkd.containers import CODECS, Place
from fkd.errors import ImagesError, first_line

_CODEC = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflate"}
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # its sign, and the lengths of name and extra field
_ENCRYPTED = 1
_UTF_8 = 1 << 11
_LINK = 0o120000

# The directory's end, with a comment; the count of members that stands for one too large for it.
_MOST_END_BYTES = 22 + 0xFFFF
_IN_ZIP64 = 0xFFFF


def scan_zip(path: Path, file: int) -> Iterator[Member]:
    """Yield the members of an archive, which is file number `file` of a container.

    Raises `ImagesError` for an archive that is damaged or cut short.
    """
    try:
        with path.open("rb") as content, zipfile.ZipFile(content) as archive:
            _require_all(content, len(archive.infolist()))
            for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
                if not info.is_dir():
                    yield _member(content, info, file)
    except (OSError, zipfile.BadZipFile, NotImplementedError, EOFError, struct.error) as error:
        if isinstance(error, FileNotFoundError):
            raise ImagesError(f"{path} does not exist") from error
        raise ImagesError(
            f"{path} is no whole zip archive ({first_line(error)}): it was cut short, damaged, or is "
            "being written; restore it"
        ) from error


def _require_all(content: IO[bytes], count: int) -> None:
    """Raise `EOFError` unless the directory has as many members as its end says: zipfile counts none."""
    content.seek(max(0, content.seek(0, os.SEEK_END) - _MOST_END_BYTES))
    rest = content.read()
    end = rest.rfind(b"PK\5\6")
    said = int.from_bytes(rest[end + 10 : end + 12], "little")
    if said not in (count, _IN_ZIP64):
        raise EOFError(f"its directory has {count:,} members and says {said:,}")


def _member(content: IO[bytes], info: zipfile.ZipInfo, file: int) -> Member:
    """Find where the bytes of a member begin, behind a header of its own."""
    name = _name(info)
    name = name if "/" in name else name.replace("\\", "/")
    if info.flag_bits & _ENCRYPTED:
        return Member(name, None, what="encrypted")
    if info.external_attr >> 16 & 0o170000 == _LINK:
        return Member(name, None, what="a link")
    codec = _CODEC.get(info.compress_type)
    if codec is None:
        return Member(name, None, what=f"compressed by method {info.compress_type}")
    content.seek(info.header_offset)
    sign, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(content.read(_LOCAL_HEADER.size))
    encoding = "utf-8" if info.flag_bits & _UTF_8 else "cp437"
    if sign != b"PK\3\4" or content.read(name_bytes) != info.orig_filename.encode(encoding):
        raise EOFError(f"{info.filename} is not where its directory says")
    first = info.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
    if first + info.compress_size > content.seek(0, os.SEEK_END):
        raise EOFError(f"{info.filename} ends after the archive does")
    if codec == "stored" and info.file_size != info.compress_size:
        raise EOFError(f"{info.filename} is stored, and has two sizes")
    if codec == "stored":
        return Member(name, Place(file, first, info.file_size))
    return Member(
        name,
        Place(
            file, 0, info.file_size, first, info.compress_size, info.file_size, CODECS.index(codec)
        ),
    )


def _name(info: zipfile.ZipInfo) -> str:
    """Return a member's name; macOS and Info-ZIP write UTF-8 without the flag that says so."""
    if info.flag_bits & _UTF_8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename
