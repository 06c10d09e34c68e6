"""Views that wait for a device, which renders them all at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import ViewFormat
from fkd.labelling.drawing import ImageSize
from fkd.machine import upload
from fkd.views import Boxes, CropTable, Flips, Mixes, blend_on_device, render_table

# Bytes of decoded images that wait on a device for the batch to be full. With few crops of large photos,
# a batch is rendered in several goes.
_MOST_BYTES = 512 * 2**20


@dataclass
class Waiting:
    """Strips of views, one behind the other, and the images there that they are rendered from."""

    _images: list[Tensor] = field(default_factory=list)
    _sizes: list[ImageSize] = field(default_factory=list)
    _own: list[tuple[int, Boxes, Flips]] = field(default_factory=list)
    _others: list[tuple[int, NDArray[np.int64], Mixes]] = field(default_factory=list)
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    @property
    def many(self) -> bool:
        """Whether the images take so much memory that they had better be rendered now."""
        return sum(pixels.nbytes for pixels in self._images) > _MOST_BYTES

    def add(self, pixels: Tensor, size: ImageSize, boxes: Boxes, flips: Flips) -> None:
        """Take views of an image, uint8 [H × W, 3], of `size` (H, W)."""
        self._own.append((self._place(pixels, size), boxes, flips))
        self._count += len(boxes)

    def mix(self, pixels: Tensor, size: ImageSize, mixes: Mixes) -> None:
        """Mix the views that were added last, n, with those of another image: `mixes` [n]."""
        mixed = np.flatnonzero(mixes.mixed)
        if len(mixed):
            rows = mixed + self._count - len(mixes.share)
            self._others.append((self._place(pixels, size), rows, mixes[mixed]))

    def _place(self, pixels: Tensor, size: ImageSize) -> int:
        """Return which of the images that is."""
        for place, image in enumerate(self._images):
            if image is pixels:
                return place
        self._images.append(pixels)
        self._sizes.append(size)
        return len(self._images) - 1

    def render(self, formats: Sequence[ViewFormat], outs: Sequence[Tensor]) -> None:
        """Render all of them to uint8 [n, 3, h, w] for each of the formats."""
        images = self._images
        packed = torch.cat(images) if len(images) > 1 else images[0]
        own = self._table(
            [place for place, _, _ in self._own],
            [boxes for _, boxes, _ in self._own],
            [flips for _, _, flips in self._own],
        )
        for format, out in zip(formats, outs, strict=True):
            render_table(packed, own, format.size, format.interpolation, out)
            if self._others:
                self._blend(packed, format, out)

    def _blend(self, packed: Tensor, format: ViewFormat, out: Tensor) -> None:
        places = [place for place, _, _ in self._others]
        mixes = Mixes.concatenate([some for _, _, some in self._others])
        table = self._table(
            places,
            [some.box for _, _, some in self._others],
            [some.flip for _, _, some in self._others],
        )
        others = render_table(packed, table, format.size, format.interpolation)
        rows = torch.from_numpy(np.concatenate([rows for _, rows, _ in self._others]))
        rows = upload(rows, out.device)
        out[rows] = blend_on_device(out[rows], others, mixes)

    def _table(self, places: list[int], boxes: list[Boxes], flips: list[Flips]) -> CropTable:
        sides = np.array(self._sizes, np.int64)
        image = np.array(places).repeat([len(some) for some in boxes])
        return CropTable.of_images(sides, image, np.concatenate(boxes), np.concatenate(flips))
