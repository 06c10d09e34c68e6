"""The masks of images: files that say a class at each pixel, read as numbers of classes.

A mask is a PNG of 8 bits, grey or with a palette, whose values are read as they are; the colours of a
palette say nothing. This room loads torch when a mask is decoded.

Legend: N images, H and W the height and width of one, C classes.
"""

import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64

from fkd.amounts import as_count
from fkd.config import IGNORED
from fkd.errors import DecodeError, ImagesError, first_line
from fkd.images import ImageList, match_names, read_file

if TYPE_CHECKING:
    from torch import Tensor

MAX_VALUES = 256  # of 8 bits

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">8x4x4sIIBB")  # behind the signature, IHDR: width, height, depth, colour
_GREY, _PALETTE = 0, 3
_COLOURS = {2: "colours", 4: "grey with alpha", 6: "colours with alpha"}


@dataclass(frozen=True)
class Masks:
    """The masks below `folder`, by the N `keys` of the images that they are beside.

    `classes` are what `named_in` calls them, None where nobody does. `numbers` are the classes of the
    values 0, 1, …, in order, `IGNORED` for a value that counts for nothing. Other values are refused, but
    for 255, which is always ignored.
    """

    folder: Path
    keys: Sequence[str]
    classes: tuple[str, ...] | None = None
    numbers: tuple[int, ...] = tuple(range(IGNORED))
    named_in: Path | None = None

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def ignored(self) -> tuple[int, ...]:
        """The values that count for nothing, among them 255."""
        return (*(v for v, n in enumerate(self.numbers[:IGNORED]) if n == IGNORED), IGNORED)

    def of(self, images: ImageList) -> "Masks":
        """Return those of other images of the same folder, in their order."""
        return replace(self, keys=images.paths)

    def matched(self, names: Sequence[str], whose: str) -> "Masks":
        """Return the same masks in the numbers of the classes `names`; `whose` they are is for messages.

        They are matched by name or, where the masks' are not named, by number. Raises `ImagesError` for a
        class that is not among them, and for one whose number a mask cannot hold.
        """
        if self.classes is None:
            count = min(len(names), IGNORED)
            return replace(self, classes=tuple(names[:count]), numbers=tuple(range(count)))
        places = match_names(self.classes, names)
        unknown = [n for n, place in zip(self.classes, places, strict=True) if place is None]
        if unknown:
            few = ", ".join(unknown[:3]) + (" …" if len(unknown) > 3 else "")
            raise ImagesError(
                f"{self.named_in}: {len(unknown)} of {as_count(len(self.classes), 'class')} are not "
                f"among {whose}: {few}; spell them alike, or begin their lines with - where they count "
                "for nothing"
            )
        number = [place for place in places if place is not None]
        if max(number) >= IGNORED:
            raise ImagesError(
                f"{self.named_in}: class {self.classes[int(np.argmax(number))]} is number {max(number)} "
                f"of {whose}, and masks of 8 bits hold {IGNORED} classes; keep fewer classes"
            )
        numbers = tuple(n if n == IGNORED else number[n] for n in self.numbers)
        return replace(self, classes=tuple(names), numbers=numbers)

    def name(self, image_index: int) -> str:
        """Return the path of an image's mask."""
        return mask_path(self.folder, self.keys[image_index])

    def encoded(self, image_index: int) -> bytearray:
        """Return the bytes of an image's mask; raises `DecodeError` where there are none."""
        try:
            return read_file(self.name(image_index))
        except DecodeError as error:
            raise DecodeError(self.name(image_index), "bad mask", error.reason) from error

    def content_hash(self, image_index: int) -> int:
        """Return the hash by which a mask is known again, as `hash_of` has it."""
        return self.hash_of(self.encoded(image_index))

    def hash_of(self, encoded: bytearray) -> int:
        """Return the XXH3, 64 bits, of the bytes of a file and of the class of each of the 256 values.

        A file whose values are other classes now says something else.
        """
        digest = xxh3_64(encoded)
        digest.update(self._classes_of)
        return digest.intdigest()

    def usable_hash(self, image_index: int, size: Iterable[int]) -> int:
        """Return what `content_hash` does, of the mask of an image of `size` (H, W).

        Raises `DecodeError` for a bad one.
        """
        encoded = self.encoded(image_index)
        self.decode(image_index, encoded, size)
        return self.hash_of(encoded)

    def read(self, image_index: int) -> "Tensor":
        """Return an image's mask as numbers of classes, uint8 [H, W], `IGNORED` where there is none.

        Raises `DecodeError`, of the reason "bad mask", for what is no mask.
        """
        return self.decode(image_index, self.encoded(image_index))

    def require_classes(self) -> None:
        """Raise `ImagesError` where no pixel has a class; masks are read until one has.

        Bad ones say nothing, and the first of them is named.
        """
        bad: DecodeError | None = None
        for number in range(len(self)):
            try:
                if bool((self.read(number) != IGNORED).any()):
                    return
            except DecodeError as error:
                bad = bad or error
        raise ImagesError(
            f"no pixel of the masks in {self.folder} has a class, so nothing could be judged by them; "
            f"{bad or 'give other masks'}"
        )

    def decode(
        self, image_index: int, encoded: bytearray, size: Iterable[int] | None = None
    ) -> "Tensor":
        """Return what `read` does, of the bytes of a file, and refuse one of another `size` (H, W)."""
        import torch

        values = self.values(image_index, encoded, size)
        pixels = bytearray(values)  # its `translate` takes a third of the time that NumPy takes
        classes = torch.frombuffer(pixels.translate(self._classes_of), dtype=torch.uint8)
        return classes.view(values.shape)

    def values(
        self, image_index: int, encoded: bytearray, size: Iterable[int] | None = None
    ) -> NDArray[np.uint8]:
        """Return what a mask's file has at each pixel, uint8 [H, W]; refuse what `decode` refuses."""
        name = self.name(image_index)
        values = _values(name, encoded, size)
        strange = bytearray(values).translate(None, self._known)
        if strange:
            raise DecodeError(name, "bad mask", self._no_class(min(strange)))
        return values

    @cached_property
    def _classes_of(self) -> bytes:
        """The class of each value from 0 to 255."""
        return bytes(self.numbers[:IGNORED]).ljust(MAX_VALUES, bytes([IGNORED]))

    @cached_property
    def _known(self) -> bytes:
        """The values that a mask may have."""
        return bytes([*range(len(self.numbers[:IGNORED])), IGNORED])

    def _no_class(self, value: int) -> str:
        if self.named_in is None:
            return (
                f"it has the value {value}, and there are {as_count(len(self.numbers), 'class')}; say in "
                "a file classes.txt what each value is, or save 255 where nothing counts"
            )
        return (
            f"it has the value {value}, and {self.named_in} has "
            f"{as_count(len(self.numbers), 'line')}, from value 0 on; add a line for each value, "
            "one as -void for what counts for nothing"
        )


def mask_path(folder: Path, key: str) -> str:
    """Return where the mask of an image lies below a folder: at its key, with the ending .png."""
    return os.path.join(folder, f"{os.path.splitext(key)[0]}.png")


def _values(name: str, encoded: bytearray, size: Iterable[int] | None) -> NDArray[np.uint8]:
    """Return the values of a mask as its file has them, u8 [H, W]; raises `DecodeError`."""
    from PIL import Image

    from fkd.images import inspect

    width, height = _header(name, encoded)
    tall, wide = (height, width) if size is None else (int(side) for side in size)
    if (height, width) != (tall, wide):
        raise DecodeError(
            name, "bad mask",
            f"it has {width}×{height} pixels, its image {wide}×{tall}; save it as large "
            "as the image",
        )  # fmt: skip
    try:
        inspect(name, encoded)  # refuses what would not fit in memory
        with Image.open(BytesIO(encoded), formats=("PNG",)) as file:
            return np.array(file)
    except Exception as error:  # a decoder raises whatever it likes on what a stranger wrote
        raise DecodeError(name, "bad mask", f"it cannot be decoded: {first_line(error)}") from error


def _header(name: str, encoded: bytearray) -> tuple[int, int]:
    """Return width and height of a PNG whose values are numbers of classes; refuse all others."""
    if not encoded.startswith(_SIGNATURE) or len(encoded) < _HEADER.size:
        from fkd.images import describe

        raise DecodeError(name, "bad mask", f"{describe(encoded)}; save it as PNG")
    kind, width, height, depth, colour = _HEADER.unpack_from(encoded)
    if kind != b"IHDR":
        raise DecodeError(name, "bad mask", "its header is damaged")
    if colour == _PALETTE or (colour == _GREY and depth == 8):
        return int(width), int(height)
    what = _COLOURS.get(colour, f"grey of {as_count(depth, 'bit')}")
    raise DecodeError(
        name, "bad mask",
        f"it is {what}; save numbers of classes as grey of 8 bits, or with a palette",
    )  # fmt: skip
