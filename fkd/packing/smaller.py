"""One image with fewer pixels, as a JPEG file; one that is within the bound stays as it is."""

import io
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from fkd.config import MAX_BOUND
from fkd.errors import DecodeError
from fkd.images import ImageList, decode, inspect
from fkd.orders import PackConfig

_JPEG = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Made:
    """What becomes of an image: the content of its copy, None where there is none to copy.

    `packed` says that it was made smaller, `bad` (name, reason) that it could not be decoded.
    """

    content: bytes | bytearray | None
    packed: bool = False
    bad: tuple[str, str] | None = None


def make(config: PackConfig, images: ImageList, index: int) -> Made:
    """Make one image smaller. One that is within the bound, or cannot be decoded, is copied."""
    name, encoded = images.name(index), None
    try:
        encoded = images.read(index)
        if config.pixels is None:
            return Made(encoded)
        inspect(name, encoded)
        pixels = decode(name, encoded)
    except DecodeError as error:
        if error.reason == "empty":
            encoded = bytearray()
        return Made(encoded, bad=(name, error.reason))
    size = _size_within(config.bound, config.pixels, *pixels.shape[1:])
    if size is None:
        return Made(encoded)
    return Made(_encode(pixels, size, config.quality), packed=True)


def name_when_smaller(key: str) -> str:
    """Return the name of an image's copy where it is made smaller: a JPEG file's."""
    return key if key.lower().endswith(_JPEG) else key + ".jpg"


def _size_within(bound: str, most: int, height: int, width: int) -> tuple[int, int] | None:
    """Return the (width, height) that meets the bound, None where the image meets it already."""
    bounded = min(height, width) if bound == "shortest" else max(height, width)
    if bounded <= most:
        return None
    width, height = (round(side * most / bounded) for side in (width, height))
    return min(max(1, width), MAX_BOUND), min(max(1, height), MAX_BOUND)


def _encode(pixels: Tensor, size: tuple[int, int], quality: int) -> bytes:
    """Return uint8 [3, H, W] as a JPEG file of `size` (width, height)."""
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=None)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling="4:2:0", optimize=True)
    return file.getvalue()
