"""Files of `torch.save`: arrays out of the zip archives of today, and the pickles before torch 1.6.

`torch.load` refuses NumPy's arrays since torch 2.6, unless it may run whatever a file says. This reads
them, and never makes more than a file holds.
"""

import struct
import zlib
from typing import Any

from numpy.typing import NDArray

from fkd.exchanging.stand_ins import Malformed, Storage, arrays_of
from fkd.exchanging.unpickling import Machine

_ZIP, _LEGACY = b"PK", 0x1950A86A20F9469CFC6C

# The end of a zip's directory: how many members, how long the directory is, and where it begins.
_END, _END_MARK = struct.Struct("<4s4xHHII"), b"PK\5\6"
# A member in the directory: method, CRC-32, both sizes, lengths of name, extra and comment, its place.
_ENTRY, _ENTRY_MARK = struct.Struct("<4s6xH4xIIIHHH8xI"), b"PK\1\2"
# Its own header: the lengths of its name and extra are all that is taken from it.
_OWN, _OWN_MARK = struct.Struct("<4s22xHH"), b"PK\3\4"
_STORED = 0


def read_arrays(content: bytes) -> list[NDArray[Any]]:
    """Return the arrays of the list that a file of `torch.save` holds, tensors as arrays too.

    Raises `Malformed` for any other file.
    """
    return _from_zip(content) if content.startswith(_ZIP) else _from_pickles(content)


def _from_zip(content: bytes) -> list[NDArray[Any]]:
    members = _members(content)
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise Malformed("its archive holds no data.pkl")
    folder = pickles[0].removesuffix("data.pkl")

    def contents(storage: Storage) -> bytes:
        place = members.get(f"{folder}data/{storage.key}")
        if place is None:
            raise Malformed(f"its archive lacks data/{storage.key:.40}")
        return _exactly(storage, _member(content, place))

    if f"{folder}byteorder" in members:
        order = _member(content, members[f"{folder}byteorder"])
        if order != b"little":
            raise Malformed(f"its bytes are in the order {order!r:.20}")
    return arrays_of(Machine(_member(content, members[pickles[0]])).run(), contents)


def _exactly(storage: Storage, content: bytes) -> bytes:
    if len(content) != storage.num_bytes:
        raise Malformed(f"a tensor of {storage.count:,} numbers has {len(content):,} bytes")
    return content


def _members(content: bytes) -> dict[str, tuple[int, int, int]]:
    """Return the place, the size and the CRC-32 of each member, by name."""
    at = content.rfind(_END_MARK, -(2**16) - _END.size)
    try:
        _, count, _, length, first = _END.unpack_from(content, max(at, 0))
        members, entry = {}, first
        for _ in range(count if at >= 0 else 0):
            mark, method, crc, size, full, name, extra, note, place = _ENTRY.unpack_from(
                content, entry
            )
            if mark != _ENTRY_MARK or method != _STORED or size != full:
                raise Malformed("its archive holds what torch does not write")
            text = content[entry + _ENTRY.size : entry + _ENTRY.size + name]
            members[text.decode("utf-8", "replace")] = place, size, crc
            entry += _ENTRY.size + name + extra + note
    except struct.error as error:
        raise Malformed("it is cut off") from error
    if at < 0 or entry > first + length:
        raise Malformed("it is cut off")
    return members


def _member(content: bytes, place: tuple[int, int, int]) -> bytes:
    at, size, crc = place
    try:
        mark, name, extra = _OWN.unpack_from(content, at)
    except struct.error as error:
        raise Malformed("it is cut off") from error
    start = at + _OWN.size + name + extra
    found = content[start : start + size]
    if mark != _OWN_MARK or len(found) != size or zlib.crc32(found) != crc:
        raise Malformed("a part of its archive is damaged (its checksum is wrong)")
    return found


def _from_pickles(content: bytes) -> list[NDArray[Any]]:
    """Read what torch wrote before 1.6: a number, a version, the system, the object, and storages."""
    machine = Machine(content)
    if machine.run() != _LEGACY:
        raise Malformed("it is no file of torch.save")
    for _ in range(2):
        machine = Machine(content, machine.at)
        machine.run()
    machine = Machine(content, machine.at)
    found = machine.run()
    machine = Machine(content, machine.at)
    keys, at = machine.run(), machine.at
    places: dict[str, int] = {}
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Malformed("its storages have no names")

    def contents(storage: Storage) -> bytes:
        if storage.key not in places:
            raise Malformed(f"it lacks the storage {storage.key:.40}")
        start = places[storage.key]
        return _exactly(storage, content[start : start + storage.num_bytes])

    sizes = _storage_bytes(found)
    for key in keys:
        places[key] = at + 8  # behind a count of numbers
        at = places[key] + sizes.get(key, 0)
    return arrays_of(found, contents)


def _storage_bytes(found: object) -> dict[str, int]:
    """Return the bytes of each storage that tensors of a list are of, by key."""
    each = found if isinstance(found, list) else []
    storages = [getattr(tensor, "storage", None) for tensor in each]
    return {s.key: s.num_bytes for s in storages if isinstance(s, Storage)}
