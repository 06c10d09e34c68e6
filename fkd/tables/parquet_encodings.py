"""What stands around the values of a parquet file: Thrift's structs, page headers, runs of small numbers.

The metadata at the end and the headers of pages are in Thrift's compact form; levels and positions in a
dictionary are in parquet's hybrid of run lengths and packed bits. All come from a stranger: nothing here
takes memory on their word.
"""

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

# The kinds of pages, by the position of each in parquet's enum.
DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = range(4)

# Encodings, by their numbers in parquet's enum (1 was never used).
ENCODINGS = {
    0: "PLAIN",
    2: "PLAIN_DICTIONARY",
    3: "RLE",
    4: "BIT_PACKED",
    5: "DELTA_BINARY_PACKED",
    6: "DELTA_LENGTH_BYTE_ARRAY",
    7: "DELTA_BYTE_ARRAY",
    8: "RLE_DICTIONARY",
    9: "BYTE_STREAM_SPLIT",
}

# Types of Thrift's compact form.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_DEEPEST = 16


@dataclass(frozen=True)
class PageHeader:
    """A page of `stored` bytes in the file, `raw` bytes once decompressed, that begins after `size`.

    `encoding` and `level_encoding` are names of `ENCODINGS`. Of a page of the second version, the first
    `repetition_bytes` and `level_bytes` are levels, never compressed; the rest is where `packed` says.
    """

    kind: int
    size: int
    stored: int
    raw: int
    num_values: int = 0
    encoding: str = "PLAIN"
    level_encoding: str = "RLE"
    repetition_bytes: int = 0
    level_bytes: int = 0
    packed: bool = True


def read_struct(text: bytes | bytearray) -> dict[int, Any]:
    """Read a struct of Thrift's: its fields by number, lists as lists, None for a text.

    Raises `EOFError` where the text ends before the struct, `ValueError` where it is none.
    """
    return _Compact(text).struct(_DEEPEST)


def read_page_header(text: bytes | bytearray) -> PageHeader:
    """Read the header at the beginning of a text.

    Raises `EOFError` where the text ends before the header, `ValueError` where it is no header.
    """
    compact = _Compact(text)
    outer = compact.struct(_DEEPEST)
    kind, size = _count(outer, 1), compact.at
    raw, stored = _count(outer, 2), _count(outer, 3)
    if kind in (DATA_PAGE, DICTIONARY_PAGE):
        inner = _inner(outer, 5 if kind == DATA_PAGE else 7)
        encodings = _encoding(inner, 2), _encoding(inner, 3) if kind == DATA_PAGE else "RLE"
        return PageHeader(kind, size, stored, raw, _count(inner, 1), *encodings)
    if kind == DATA_PAGE_V2:
        inner = _inner(outer, 8)
        levels = _count(inner, 6), _count(inner, 5)
        if sum(levels) > min(stored, raw):
            _damaged("its levels are longer than itself")
        return PageHeader(
            *(kind, size, stored, raw, _count(inner, 1), _encoding(inner, 4), "RLE"),
            *levels,
            packed=inner.get(7, True) is True,
        )
    if kind != INDEX_PAGE:
        _damaged(f"its kind is {kind}")
    return PageHeader(kind, size, stored, raw)


def _count(fields: dict[int, Any], number: int) -> int:
    value = fields.get(number)
    if type(value) is not int or not 0 <= value < 2**31:
        _damaged(f"field {number} is {value!r:.40}")
    return value


def _encoding(fields: dict[int, Any], number: int) -> str:
    code = _count(fields, number)
    return ENCODINGS.get(code, f"encoding {code}")


def _inner(fields: dict[int, Any], number: int) -> dict[int, Any]:
    inner = fields.get(number)
    if not isinstance(inner, dict):
        _damaged(f"field {number} is missing")
    return inner


def _damaged(what: str) -> NoReturn:
    raise ValueError(f"a header is damaged: {what}")


class _Compact:
    """A text in Thrift's compact form, read from its beginning."""

    def __init__(self, text: bytes | bytearray) -> None:
        self.text = text
        self.at = 0

    def struct(self, deepest: int) -> dict[int, Any]:
        """Read fields by number. Texts are skipped: a statistic may hold a whole image."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = self._value(head & 15, deepest)
        return fields

    def _value(self, kind: int, deepest: int) -> Any:
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind in (_I16, _I32, _I64):
            return self._signed()
        if kind in (_BYTE, _DOUBLE, _BINARY):
            return self._skip({_BYTE: 1, _DOUBLE: 8}.get(kind) or self._unsigned())
        if kind in (_LIST, _SET) and deepest:
            return self._list(deepest - 1)
        if kind == _STRUCT and deepest:
            return self.struct(deepest - 1)
        _damaged(f"it has a field of type {kind}")

    def _list(self, deepest: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._unsigned()
        # A truth in a list is a byte of its own, so that every value takes one at least.
        kind = _BYTE if head & 15 in (_TRUE, _FALSE) else head & 15
        return [self._value(kind, deepest) for _ in range(count)]

    def _byte(self) -> int:
        self._skip(1)
        return self.text[self.at - 1]

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self.text):
            raise EOFError("a header is cut short")

    def _unsigned(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        _damaged("a number has no end")

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)


def read_runs(text: bytes | bytearray | memoryview, width: int, count: int) -> NDArray[np.int64]:
    """Read `count` numbers of `width` bits, int64 [count], from runs and packed groups of eight.

    Raises `ValueError` where the text holds fewer. The caller has bounded `count`.
    """
    if width > 32:
        raise ValueError(f"numbers of {width} bits are too wide")
    text = bytes(text)
    values = np.empty(count, np.int64)
    done, at, value_bytes = 0, 0, (width + 7) // 8
    while done < count:
        head, at = _head(text, at)
        if head & 1:
            taken = min((head >> 1) * 8, count - done)
            num_bytes = (head >> 1) * width
            values[done : done + taken] = _packed(text[at : at + num_bytes], width, taken)
        else:
            taken, num_bytes = min(head >> 1, count - done), value_bytes
            values[done : done + taken] = int.from_bytes(text[at : at + num_bytes], "little")
        done, at = done + taken, at + num_bytes
        if at > len(text) and done < count:
            raise ValueError("a page holds fewer values than it says")
    return values


def _head(text: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(text):
            break
        value |= (text[at] & 127) << shift
        at += 1
        if text[at - 1] < 128:
            return value, at
    raise ValueError("a page holds fewer values than it says")


def _packed(text: bytes, width: int, count: int) -> NDArray[np.int64]:
    """Unpack `count` numbers of `width` bits, the lowest bit first."""
    bits = np.unpackbits(np.frombuffer(text, np.uint8), count=None, bitorder="little")
    if len(bits) < count * width:
        raise ValueError("a page holds fewer values than it says")
    each = bits[: count * width].reshape(count, width)
    return each.astype(np.int64) @ (1 << np.arange(width, dtype=np.int64))
