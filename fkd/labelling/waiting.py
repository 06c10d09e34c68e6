"""Views that wait for a device, which renders them all at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import ViewFormat, ViewPolicy
from fkd.labelling.drawing import ImageSize
from fkd.labelling.mixing import OwnViews
from fkd.machine import upload
from fkd.views import Boxes, CropTable, Flips, Mixes, blend_on_device, render_table, tone_views

# Bytes of decoded images that wait on a device for the batch to be full. With few crops of large photos,
# a batch is rendered in several goes.
_MOST_BYTES = 512 * 2**20


@dataclass(frozen=True)
class _Strip:
    """Views of the image at a `place`, of this `number`, for `rows` int64 [n]: boxes, flips and crops."""

    place: int
    number: int
    rows: NDArray[np.int64]
    boxes: Boxes
    flips: Flips
    crops: NDArray[np.int64]


@dataclass
class Waiting:
    """Strips of views, one behind the other, and the images there that they are rendered from.

    They fit and their tone changes as the `policy` says.
    """

    policy: ViewPolicy
    _images: list[Tensor] = field(default_factory=list)
    _sizes: list[ImageSize] = field(default_factory=list)
    _own: list[_Strip] = field(default_factory=list)
    _others: list[_Strip] = field(default_factory=list)
    _mixes: list[Mixes] = field(default_factory=list)
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    @property
    def many(self) -> bool:
        """Whether the images take so much memory that they had better be rendered now."""
        return sum(pixels.nbytes for pixels in self._images) > _MOST_BYTES

    def add(self, pixels: Tensor, size: ImageSize, own: OwnViews) -> None:
        """Take n views of an image, uint8 [H × W, 3], of `size` (H, W)."""
        rows = np.arange(self._count, self._count + len(own.boxes))
        views = own.boxes, own.flips, own.crops
        self._own.append(_Strip(self._place(pixels, size), own.number, rows, *views))
        self._count += len(rows)

    def mix(self, pixels: Tensor, size: ImageSize, mixes: Mixes, number: int) -> None:
        """Mix the views that were added last, n, with those of the image of `number`: `mixes` [n]."""
        mixed, own = np.flatnonzero(mixes.mixed), self._own[-1]
        if len(mixed):
            some, place = mixes[mixed], self._place(pixels, size)
            views = some.box, some.flip, own.crops[mixed]
            self._others.append(_Strip(place, number, own.rows[mixed], *views))
            self._mixes.append(some)

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
        for format, out in zip(formats, outs, strict=True):
            self._render(self._own, packed, format, out)
            if self._others:
                others = self._render(self._others, packed, format)
                rows = torch.from_numpy(np.concatenate([strip.rows for strip in self._others]))
                rows = upload(rows, out.device)
                mixes = Mixes.concatenate(self._mixes)
                out[rows] = blend_on_device(out[rows], others, mixes)

    def _render(
        self, strips: list[_Strip], packed: Tensor, format: ViewFormat, out: Tensor | None = None
    ) -> Tensor:
        """Render strips, one behind the other, in their tone: uint8 [n, 3, h, w], to `out` if given."""
        counts = [len(strip.boxes) for strip in strips]
        places, numbers = (
            np.array(each).repeat(counts)
            for each in ([s.place for s in strips], [s.number for s in strips])
        )
        boxes, flips, crops = (
            np.concatenate([getattr(strip, name) for strip in strips])
            for name in ("boxes", "flips", "crops")
        )
        table = CropTable.of_images(np.array(self._sizes, np.int64), places, boxes, flips)
        views = render_table(packed, table, format.size, format.interpolation, out, self.policy.fit)
        tone_views(self.policy, views, numbers, crops)
        return views
