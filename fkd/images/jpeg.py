"""The operators that decode JPEG, torchvision's or torchcodec's, and the header that is read before.

torchvision's are deprecated since 0.29, and torchcodec's are to follow them. Both are libjpeg-turbo
inside and give the same pixels; so does Pillow, which decodes JPEG where there is neither.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torchvision  # noqa: F401  registers torch.ops.image
from torch import Tensor

SIGNATURE = b"\xff\xd8\xff"

_RGB = 3

# A JPEG file is a row of segments, each after a marker (FF and its kind): those that say its size, those
# without a length of their own, and where the header ends. A regular expression takes twice the time.
_MARK, _FILL = 0xFF, (0x00, 0xFF)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset([0x01, *range(0xD0, 0xD9)])
_ENDS = frozenset([0xD9, 0xDA])
_EXIF, _UNUSED = 0xE1, 0xEF  # APP1, and a segment for applications that no decoder looks into


class JpegOperator(NamedTuple):
    """A package, and what makes RGB, uint8 [3, H, W] channels last, of a file's bytes.

    EXIF orientation is left alone. Raises `RuntimeError` for bytes that do not decode.
    """

    package: str
    decode: Callable[[bytearray], Tensor]


def find_operator(torchvisions: object = torch.ops.image) -> JpegOperator | None:
    """Return the operator of this machine, or None; torchvision is always installed, and comes first.

    Its operator is called without its Python wrapper, which warns at each call.
    """
    if hasattr(torchvisions, "decode_jpeg"):
        return JpegOperator("torchvision", _by_torchvision)
    try:
        from torchcodec.decoders import decode_jpeg
    except (
        Exception
    ):  # of another torch, it fails in ways of its own; before 0.16 it knew no images
        return None
    return JpegOperator("torchcodec", lambda encoded: decode_jpeg(_tensor(_without_exif(encoded))))


def _by_torchvision(encoded: bytearray) -> Tensor:
    pixels: Tensor = torch.ops.image.decode_jpeg(_tensor(encoded), _RGB, False)
    return pixels


def _tensor(encoded: bytearray) -> Tensor:
    return torch.frombuffer(encoded, dtype=torch.uint8)


def _without_exif(encoded: bytearray) -> bytearray:
    """Hide segments of EXIF in a copy: torchcodec turns an image as they say, and always does."""
    places = [at for kind, at in _segments(encoded) if kind == _EXIF]
    if not places:
        return encoded
    copy = bytearray(encoded)
    for at in places:
        copy[at - 1] = _UNUSED
    return copy


def jpeg_size(encoded: bytearray) -> tuple[int, int]:
    """Return the (width, height) that a JPEG file claims, 0 × 0 where libjpeg will refuse it.

    libjpeg takes memory for as many pixels before it has looked at any.
    """
    for kind, at in _segments(encoded):
        if kind in _FRAMES:
            return int.from_bytes(encoded[at + 5 : at + 7]), int.from_bytes(
                encoded[at + 3 : at + 5]
            )
    return 0, 0


def _segments(encoded: bytearray) -> Iterator[tuple[int, int]]:
    """Yield each marker of the header, and the place after it.

    This goes from segment to segment as libjpeg does, over bytes between them that are none.
    """
    at, last = 2, len(encoded) - 1
    while 0 <= (at := encoded.find(_MARK, at)) < last:
        kind = encoded[at + 1]
        if kind in _FILL:
            at += 1
            continue
        if kind in _ENDS:
            return
        at += 2
        yield kind, at
        if kind not in _BARE:
            at += int.from_bytes(encoded[at : at + 2])
