"""The images of a split, and where their copies and those of their masks lie."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkd.errors import ImagesError
from fkd.images import ImageList
from fkd.truth import Masks, Texts, Truth, mask_path

_JPEG = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Split:
    """The images of a split, and its `name`: the folder of the copies, "" where that is OUT itself.

    `keys` are the images' names below the split. `numbers` are the images' classes, int64 [N], as
    positions in the classes of the first split; None where images have none. `truth` are the masks or
    texts beside the images, and the copies of masks lie in the folder `masks_name` below OUT.
    """

    images: ImageList
    name: str
    keys: tuple[str, ...]
    numbers: NDArray[np.int64] | None = None
    truth: Truth | None = None
    masks_name: str = ""

    @property
    def masks(self) -> Masks | None:
        """The masks of the images, None where they have none."""
        return self.truth if isinstance(self.truth, Masks) else None

    @property
    def texts(self) -> Texts | None:
        """The texts of the images, None where they have none."""
        return self.truth if isinstance(self.truth, Texts) else None

    @property
    def num_bytes(self) -> int:
        """How many bytes the images have, with their masks."""
        return int(self.images.num_bytes.sum()) + sum(_sizes(self.masks))

    def names(self, index: int) -> tuple[str, str]:
        """Return the name of an image's copy when it is copied as it is, and when it is made smaller.

        Smaller ones are JPEG files. Behind a key, .jpg makes a name that no other image has. Where there
        are masks it takes the place of the ending, so that masks keep their names.
        """
        key = self.keys[index]
        if key.lower().endswith(_JPEG):
            return key, key
        return key, f"{key if self.masks is None else os.path.splitext(key)[0]}.jpg"

    def paths(self, out: Path, index: int) -> tuple[str, str]:
        """Return where an image's copy lies, by `names`."""
        kept, smaller = self.names(index)
        return os.path.join(out, self.name, kept), os.path.join(out, self.name, smaller)

    def mask_path(self, out: Path, index: int) -> str:
        """Return where the copy of an image's mask lies."""
        return mask_path(out / self.masks_name, self.keys[index])

    def refuse_equal_names(self) -> None:
        """Raise `ImagesError` where the copies of two images, or of their masks, would have one name."""
        root, names, of_mask = self.images.root, set(self.keys), dict[str, str]()
        for index, key in enumerate(self.keys):
            if self.masks is not None:
                mask = self.masks.name(index)
                if of_mask.setdefault(mask, key) != key:
                    raise ImagesError(
                        f"{root}: {of_mask[mask]} and {key} have one mask, {mask}; rename one of "
                        "the two, and save its own mask"
                    )
            elif (smaller := self.names(index)[1]) != key and smaller in names:
                raise ImagesError(
                    f"{root}: {key}, made smaller, would be named as {smaller} is; rename one of the two"
                )


def _sizes(masks: Masks | None) -> Iterator[int]:
    """Yield the sizes of the masks that are there."""
    if masks is not None:
        for index in range(len(masks)):
            with suppress(OSError):
                yield os.path.getsize(masks.name(index))
