"""Which crops of many images a device renders in one go."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.views.boxes import Boxes, Flips


@dataclass(frozen=True)
class CropTable:
    """Which crops to render, on the CPU; images lie behind one another in one run of pixels.

    `first` int64 [n] numbers the first pixel of each crop's image, `width` int64 [n] is the image's
    width, `box` int64 [n, 4] (top, left, height, width) and `flip` bool [n].
    """

    first: NDArray[np.int64]
    width: NDArray[np.int64]
    box: NDArray[np.int64]
    flip: NDArray[np.bool_]

    @classmethod
    def of_images(
        cls, sides: NDArray[np.int64], image: NDArray[np.int64], box: Boxes, flip: Flips
    ) -> "CropTable":
        """Describe n crops of k images that lie behind one another.

        `sides` int64 [k, 2] are the images' height and width; `image` int64 [n] says whose a crop is.
        """
        area = sides.prod(axis=1)
        first = area.cumsum() - area
        return cls(first[image], sides[image, 1], box.astype(np.int64), flip)

    def take(self, rows: NDArray[np.int64]) -> "CropTable":
        """Return some of the crops."""
        return CropTable(self.first[rows], self.width[rows], self.box[rows], self.flip[rows])

    def beside(self, rows: NDArray[np.int64], fits: NDArray[np.int64] | None) -> Tensor:
        """Return what a device must know of the crops as one tensor, int64 [7, n] or [9, n].

        It begins with `rows`, int64 [n], the crops' places in what they are rendered to.
        `fits`, int64 [n, 2], are the height and width of padded crops in their views.
        """
        top, left, height, width = self.box.T
        corner = self.first + top * self.width + left
        flip = self.flip.astype(np.int64)
        # Each direction's lengths, and whether it is mirrored, lie behind one another.
        columns = [rows, corner, self.width, width, height, flip, np.zeros_like(flip)]
        columns += [] if fits is None else [fits[:, 1], fits[:, 0]]
        return torch.from_numpy(np.stack(columns))

    @property
    def largest(self) -> tuple[int, int]:
        """Height of the highest box and width of the widest."""
        height, width = self.box[:, 2:].max(axis=0).tolist()
        return height, width
