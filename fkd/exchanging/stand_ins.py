"""What pickles of arrays and tensors name, and what stands for it: notes of what is to be made.

Nothing of NumPy or torch is called by a pickle. An array is made when all is read, and only of bytes that
are there.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_DIMENSIONS = 4
_MOST_NUMBERS = 2**40

# Types of NumPy as pickles name them, and storages of torch: what labels can be made of.
_DTYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
_STORAGES = {
    "HalfStorage": "f2", "FloatStorage": "f4", "DoubleStorage": "f8", "CharStorage": "i1",
    "ShortStorage": "i2", "IntStorage": "i4", "LongStorage": "i8", "ByteStorage": "u1",
    "BoolStorage": "b1",
}  # fmt: skip


class Malformed(Exception):
    """A file that no program of its format writes; the text says what is wrong."""


class Unsafe(Malformed):
    """A pickle that names what no label needs, and so would run code."""


@dataclass
class _Dtype:
    """`numpy.dtype`: a name, and the order of its bytes."""

    name: str
    order: str = "="

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "=", ">"):
            raise Malformed("a type of numbers has no order of bytes")
        self.order = state[1]

    def dtype(self) -> "np.dtype[Any]":
        return np.dtype(f"{self.order}{self.name}")


@dataclass
class _Array:
    """`numpy.ndarray`: its shape, type and bytes, once the pickle has told them."""

    state: Any = None

    def build(self, state: Any) -> None:
        self.state = state

    def array(self) -> NDArray[Any]:
        match self.state:
            case (int(), tuple(shape), _Dtype() as kind, bool(fortran), bytes(content)):
                pass
            case _:
                raise Malformed("an array is none of numbers")
        count = _size(shape)
        if count * kind.dtype().itemsize != len(content):
            raise Malformed(f"an array of shape {_shown(shape)} has {len(content):,} bytes")
        flat = np.frombuffer(content, kind.dtype())
        return flat.reshape(shape, order="F" if fortran else "C")


@dataclass(frozen=True)
class StorageType:
    """A storage of torch, by the type of its numbers."""

    dtype: str


@dataclass(frozen=True)
class Storage:
    """The numbers of tensors: so many of a type, in the file under a key."""

    dtype: str
    key: str
    count: int

    @property
    def num_bytes(self) -> int:
        """The bytes that the file must have of it."""
        return self.count * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class _Tensor:
    """`torch.Tensor`: a part of a storage."""

    storage: Storage
    offset: int
    size: Sequence[int]
    stride: Sequence[int]

    def array(self, contents: Callable[[Storage], bytes]) -> NDArray[Any]:
        count = _size(self.size)
        reach = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True))
        if count and (count > self.storage.count or reach >= self.storage.count):
            raise Malformed(f"a tensor of shape {_shown(self.size)} is larger than what it is of")
        flat = np.frombuffer(contents(self.storage), np.dtype(self.storage.dtype).newbyteorder("<"))
        if not count:
            return np.zeros(self.size, flat.dtype)
        steps = [s * flat.itemsize for s in self.stride]
        seen = np.lib.stride_tricks.as_strided(flat[self.offset :], self.size, steps)
        return np.ascontiguousarray(seen)


Buildable = (_Array, _Dtype)


def arrays_of(found: object, contents: Callable[[Storage], bytes]) -> list[NDArray[Any]]:
    """Return the arrays of a list that was read; `contents` gives the bytes of a storage.

    Raises `Malformed` for anything else than a list of arrays or tensors.
    """
    if not isinstance(found, list):
        raise Malformed("it holds no list")
    arrays = []
    for each in found:
        if isinstance(each, _Array):
            arrays.append(each.array())
        elif isinstance(each, _Tensor):
            arrays.append(each.array(contents))
        else:
            raise Malformed("its list holds something else than arrays")
    return arrays


def _size(shape: Sequence[Any]) -> int:
    """Return how many numbers a shape has."""
    if len(shape) > _MOST_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
        raise Malformed(f"an array has the shape {_shown(shape)}")
    if math.prod(max(1, n) for n in shape) > _MOST_NUMBERS:  # of an empty one NumPy asks that too
        raise Malformed(f"an array has the shape {_shown(shape)}")
    return math.prod(shape)


def _shown(shape: Sequence[Any]) -> str:
    return f"{list(shape)[: _MOST_DIMENSIONS + 1]}"[:60]


def _make_dtype(name: Any, *_: Any) -> _Dtype:
    if name not in _DTYPES:
        raise Malformed(f"it has numbers of the type {name!r:.40}")
    return _Dtype(name)


def _make_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    good = isinstance(storage, Storage) and type(offset) is int and offset >= 0
    if not good or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise Malformed("a tensor is described as none is")
    if len(size) != len(stride) or not all(type(s) is int and s >= 0 for s in stride):
        raise Malformed("a tensor has other strides than dimensions")
    return _Tensor(storage, offset, size, stride)


def _make_bytes(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Malformed("bytes are written in another way than as latin1")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise Malformed("bytes are above 255") from error


_ARRAY = object()  # numpy.ndarray itself, which `_reconstruct` is given

STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _ARRAY,
    ("numpy", "dtype"): _make_dtype,
    ("_codecs", "encode"): _make_bytes,
    ("collections", "OrderedDict"): lambda *_: {},
    ("torch._utils", "_rebuild_tensor_v2"): _make_tensor,
    **{("torch", name): StorageType(dtype) for name, dtype in _STORAGES.items()},
    **{
        (f"numpy.{core}.multiarray", "_reconstruct"): lambda *_: _Array()
        for core in ("core", "_core")
    },
}
