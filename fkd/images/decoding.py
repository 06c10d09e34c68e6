"""From the bytes of an image file to pixels, or to the reason why there are none."""

from io import BytesIO

import torch
import xxhash
from PIL import Image, UnidentifiedImageError, features
from torch import Tensor

from fkd.errors import DecodeError, first_line
from fkd.images.files import read_file
from fkd.images.jpeg import SIGNATURE, find_operator, jpeg_size
from fkd.images.samples import eight_bit_rgb
from fkd.images.signatures import describe
from fkd.version import version_of

# Pillow knows dozens of formats, some of which start other programs. AVIF came with 11.3, and a build may
# lack it.
_AVIF = ("AVIF",) if "avif" in features.modules and features.check("avif") else ()
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF", *_AVIF)

# JPEG goes to an operator where there is one. All other formats go to Pillow: torchvision's PNG decoder
# ends the process on a damaged file.
_JPEG = find_operator()

# Above this a decoded image alone takes half a gigabyte; Pillow calls such files decompression bombs.
MAX_PIXELS = 178_956_970

MAX_SIDE = 65_535  # boxes are u16


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
    if _JPEG is None or not encoded.startswith(SIGNATURE):
        return _decode_with_pillow(path, encoded)
    check_dimensions(path, *jpeg_size(encoded))
    try:
        return _JPEG.decode(encoded)
    except RuntimeError:
        # Pillow says in words what is wrong with the file; the operators' messages name C++ files.
        return _decode_with_pillow(path, encoded)


def jpeg_decoder() -> str:
    """Return who decodes JPEG here, with the version of the package; Pillow's libjpeg is named too.

    The operators do not say which libjpeg-turbo they were built with.
    """
    if _JPEG is not None:
        return f"{_JPEG.package} {version_of(_JPEG.package)}"
    turbo = features.version("libjpeg_turbo")
    kind = f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}"
    return f"pillow {version_of('pillow')} with {kind}"


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


def check_dimensions(path: str, width: int, height: int) -> None:
    """Refuse an image whose pixels would not fit in memory, or whose sides would not fit in a box."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise DecodeError(path, "too large", f"{width}×{height} pixels")


def image_size(name: str, encoded: bytearray) -> tuple[int, int]:
    """Return the (height, width) of an image without decoding it, as `decode` would find them.

    Raises `DecodeError`, as `inspect` does.
    """
    if encoded.startswith(SIGNATURE):
        width, height = jpeg_size(encoded)
        if width and height:
            check_dimensions(name, width, height)
            return height, width
    return inspect(name, encoded)


def inspect(name: str, encoded: bytearray) -> tuple[int, int]:
    """Return the (height, width) that an image's header claims; `name` says in messages which one.

    Raises `DecodeError` for one that would be a bomb when it is decoded.
    """
    try:
        with Image.open(BytesIO(encoded), formats=_FORMATS) as file:
            check_dimensions(name, *file.size)
            return file.size[1], file.size[0]
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
