"""The crops of one image at a time, mixed as the teacher saw them, and as a transform makes them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import Fit, Interpolation, Size
from fkd.errors import ConfigError
from fkd.originals import LabelledImages
from fkd.store import Toning
from fkd.views import Boxes, Flips, Mixes, Sizes, blend_views, empty_views, render_views

Slots = NDArray[np.int64]  # numbers of crops

# Takes one crop, uint8 [3, H, W], and returns a tensor of three dimensions.
Transform = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ImageCrops:
    """Renders crops of `files`; `sizes` u16 [N, 2] are height and width of all images of the store."""

    files: LabelledImages
    sizes: Sizes
    toning: Toning
    size: Size
    interpolation: Interpolation
    fit: Fit
    transform: Transform | None

    def of(
        self, number: int, slots: Slots, boxes: Boxes, flips: Flips, mixes: Mixes | None
    ) -> Tensor:
        """Return the crops `slots`, int64 [m], of an image.

        They are uint8 [m, 3, H, W], or as `transform` makes them.
        """
        views = self._rendered(number, slots, boxes, flips)
        if mixes is not None:
            self._mix(views, slots, mixes)
        return views if self.transform is None else _stacked([self.transform(v) for v in views])

    def _mix(self, views: Tensor, slots: Slots, mixes: Mixes) -> None:
        """Mix views in place; a partner of several of them is decoded once."""
        for partner in np.unique(mixes.image[mixes.mixed]).tolist():
            rows = np.flatnonzero(mixes.mixed & (mixes.image == partner))
            theirs = mixes[rows]
            others = self._rendered(partner, slots[rows], theirs.box, theirs.flip)
            blend_views([views[row] for row in rows.tolist()], others.unbind(), theirs)

    def _rendered(self, number: int, slots: Slots, boxes: Boxes, flips: Flips) -> Tensor:
        views = empty_views(len(boxes), self.size)
        pixels = self.files.decode(number, self.sizes[number])
        render_views(pixels, boxes, flips, views, self.interpolation, self.fit)
        self.toning.change_all(views, number, slots)
        return views


def _stacked(changed: list[Tensor]) -> Tensor:
    """Return what a transform made of m crops as [m, 3, h, w]; raises `ConfigError` for other things."""
    for crop in changed:
        if not isinstance(crop, Tensor) or crop.dim() != 3 or crop.shape != changed[0].shape:
            what = list(crop.shape) if isinstance(crop, Tensor) else f"a {type(crop).__name__}"
            raise ConfigError(
                f"transform returned {what}; it must return a tensor [3, h, w] for each crop uint8 "
                "[3, H, W], of one size for all crops"
            )
    return torch.stack(changed)
