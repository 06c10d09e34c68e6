"""From the bytes of an image file to pixels, or to the reason why there are none."""

import re
from io import BytesIO

import torch
import torchvision.io  # noqa: F401  registers torch.ops.image
import xxhash
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from fkd.errors import DecodeError, first_line
from fkd.images.files import read_file
from fkd.images.samples import eight_bit_rgb
from fkd.images.signatures import describe

# Pillow knows dozens of formats, some of which start other programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")

# JPEG goes to torchvision's operators, without their Python wrappers: those warn at each call since
# 0.29, because the operators will move to another package. Where there are none Pillow decodes JPEG
# too, to the same pixels (both are libjpeg-turbo inside), up to a third slower. All other formats go to
# Pillow: torchvision's PNG decoder ends the process on a damaged file.
_NATIVE = hasattr(torch.ops.image, "decode_jpeg") and hasattr(torch.ops.image, "read_file")
_RGB = 3

# Above this a decoded image alone takes half a gigabyte; Pillow calls such files decompression bombs.
MAX_PIXELS = 178_956_970

MAX_SIDE = 65_535  # boxes are u16

# A JPEG file is a row of segments, each after a marker: those that say its size, those without a length
# of their own, and where the header ends.
_MARKER = re.compile(rb"\xff([^\x00\xff])")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset([0x01, *range(0xD0, 0xD9)])
_ENDS = frozenset([0xD9, 0xDA])


def content_hash(encoded: bytearray) -> int:
    """Return the hash by which a file's content is known again: XXH3 of 64 bits, never 0.

    It finds files that were swapped or made anew, at a hundredth of the cost of decoding. It does not
    withstand whoever means to deceive.
    """
    return xxhash.xxh3_64_intdigest(encoded) or 1


def decode(path: str, encoded: bytearray | None = None) -> Tensor:
    """Decode one image to RGB, uint8 [3, H, W]; greyscale, palette, CMYK and alpha are converted.

    `path` names it in messages. `encoded` is its content; without it, `path` is a file that is read.
    EXIF orientation is left alone, as torchvision's
    ImageFolder does. Raises `DecodeError`, for an image of too many pixels before any memory is taken.
    """
    encoded = read_file(path) if encoded is None else encoded
    if not _NATIVE or encoded[:3] != b"\xff\xd8\xff":
        return _decode_with_pillow(path, encoded)
    check_dimensions(path, *_size_of_jpeg(encoded))
    try:
        content = torch.frombuffer(encoded, dtype=torch.uint8)
        pixels: Tensor = torch.ops.image.decode_jpeg(content, _RGB, False)
    except RuntimeError:
        # Pillow says in words what is wrong with the file; torchvision's messages name C++ files.
        return _decode_with_pillow(path, encoded)
    return pixels


def _decode_with_pillow(path: str, encoded: bytearray) -> Tensor:
    try:
        with Image.open(BytesIO(encoded), formats=_FORMATS) as file:
            check_dimensions(path, *file.size)
            array = eight_bit_rgb(file)
    except DecodeError:
        raise
    except Exception as error:  # a decoder raises whatever it likes on what a stranger wrote
        raise _undecodable(path, encoded, error) from error
    return torch.from_numpy(array).permute(2, 0, 1)


def _size_of_jpeg(encoded: bytearray) -> tuple[int, int]:
    """Return the (width, height) that a JPEG file claims, 0 × 0 where libjpeg will refuse it.

    libjpeg takes memory for as many pixels before it has looked at any; so this goes from segment to
    segment as libjpeg does, over bytes between them that are none.
    """
    at = 2
    while marker := _MARKER.search(encoded, at):
        kind, at = marker[1][0], marker.end()
        if kind in _FRAMES:
            return int.from_bytes(encoded[at + 5 : at + 7]), int.from_bytes(
                encoded[at + 3 : at + 5]
            )
        if kind in _ENDS:
            break
        if kind not in _BARE:
            at += int.from_bytes(encoded[at : at + 2])
    return 0, 0


def check_dimensions(path: str, width: int, height: int) -> None:
    """Refuse an image whose pixels would not fit in memory, or whose sides would not fit in a box."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise DecodeError(path, "too large", f"{width}×{height} pixels")


def inspect(name: str, encoded: bytearray) -> None:
    """Refuse an image that would be a bomb when it is decoded; `name` says in messages which one."""
    try:
        with Image.open(BytesIO(encoded), formats=_FORMATS) as file:
            check_dimensions(name, *file.size)
    except DecodeError:
        raise
    except Exception as error:  # as above
        raise _undecodable(name, encoded, error) from error


def _undecodable(path: str, encoded: bytearray, error: Exception) -> DecodeError:
    """Say why an image does not decode; of a file that is none, what it is instead."""
    if isinstance(error, UnidentifiedImageError):
        return DecodeError(path, "damaged", describe(encoded))
    bomb = isinstance(error, (Image.DecompressionBombError, MemoryError))
    return DecodeError(path, "too large" if bomb else "damaged", first_line(error))
