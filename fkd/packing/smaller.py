"""One image with fewer pixels, as a JPEG file; one that is within the bound stays as it is."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image
from torch import Tensor

from fkd.config import MAX_BOUND
from fkd.errors import DecodeError
from fkd.images import decode, inspect, read_file
from fkd.orders import PackConfig
from fkd.packing.smaller_mask import smaller_mask
from fkd.packing.split import Split

_Bad = tuple[str, str]  # a name, and why


@dataclass(frozen=True)
class Made:
    """What becomes of an image: the content of its copy, None where there is none to copy.

    `mask` is that of its mask's copy, None where there is none. `packed` says that both were made
    smaller, `bad` (name, reason) that one of them cannot be used.
    """

    content: bytes | bytearray | None
    mask: bytes | bytearray | None = None
    packed: bool = False
    bad: _Bad | None = None


def make(config: PackConfig, split: Split, index: int) -> Made:
    """Make one image smaller, and its mask. Both are copied where the image is small, or one is bad."""
    name, masks = split.images.name(index), split.masks
    content, bad = _read(name, lambda: split.images.read(index))
    mask = None
    if masks is not None:
        mask_name = masks.name(index)
        mask, bad_mask = _read(mask_name, lambda: read_file(mask_name))
        bad = bad or bad_mask
    copied = Made(content, mask, bad=bad)
    if config.pixels is None or content is None or bad is not None:
        return copied
    try:
        inspect(name, content)
        pixels = decode(name, content)
    except DecodeError as error:
        return replace(copied, bad=(name, error.reason))
    height, width = pixels.shape[1:]
    size = _size_within(config.bound, config.pixels, height, width)
    seen: bytes | bytearray | None = None
    if masks is not None and mask is not None:
        try:
            seen = smaller_mask(masks, index, mask, (height, width), size)
        except DecodeError as error:
            return replace(copied, bad=(mask_name, str(error).removeprefix(f"{mask_name}: ")))
    if size is None:
        return copied
    return Made(_encode(pixels, size, config.quality), seen, packed=True)


def _read(name: str, read: Callable[[], bytearray]) -> tuple[bytearray | None, _Bad | None]:
    """Return the content of a file, None where there is none to copy, and why it is bad."""
    try:
        return read(), None
    except DecodeError as error:
        return bytearray() if error.reason == "empty" else None, (name, error.reason)


def _size_within(bound: str, most: int, height: int, width: int) -> tuple[int, int] | None:
    """Return the (height, width) that meets the bound, None where the image meets it already."""
    bounded = min(height, width) if bound == "shortest" else max(height, width)
    if bounded <= most:
        return None
    height, width = (round(side * most / bounded) for side in (height, width))
    return min(max(1, height), MAX_BOUND), min(max(1, width), MAX_BOUND)


def _encode(pixels: Tensor, size: tuple[int, int], quality: int) -> bytes:
    """Return uint8 [3, H, W] as a JPEG file of `size` (height, width)."""
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    image = image.resize(size[::-1], Image.Resampling.LANCZOS, reducing_gap=None)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling="4:2:0", optimize=True)
    return file.getvalue()
