"""Masks seen as views are: the same box and flip, and of each pixel the class at its centre.

Which source pixel that is follows from whole numbers, so that it is the same everywhere: pixel i of S
over a box of L pixels is the box's pixel ⌊(2i + 1) L / 2S⌋, as torchvision's `nearest-exact` has it.

Legend: H and W are the height and width of an image, h and w those of a view.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import CROP_SHARE, IGNORED, Fit, Size, sides_of
from fkd.views.boxes import Boxes, Flips
from fkd.views.fitting import fitted
from fkd.views.render_cpu import center_cut


def render_mask(mask: Tensor, boxes: Boxes, flips: Flips, size: Size, fit: Fit = "fill") -> Tensor:
    """Return n views of a mask, uint8 [H, W], as uint8 [n, h, w]; `boxes` are [n, 4] and `flips` [n].

    With `fit` "pad", `IGNORED` is around what a crop fills of its view.
    """
    views = torch.full((len(boxes), *sides_of(size)), IGNORED, dtype=torch.uint8)
    whole = np.broadcast_to(np.array(sides_of(size)), (len(boxes), 2))
    inside = whole if fit == "fill" else fitted(boxes[:, 2:], size)
    for box, flip, (height, width), view in zip(
        boxes.tolist(), flips.tolist(), inside.tolist(), views, strict=True
    ):
        top, left, tall, wide = box
        rows, columns = top + _nearest(tall, height), left + _nearest(wide, width)
        _take(mask, rows, columns[::-1] if flip else columns, view[:height, :width])
    return views


def render_center_mask(
    mask: Tensor, size: Size, crop: float = CROP_SHARE, fit: Fit = "fill"
) -> Tensor:
    """Return the evaluation view of a mask, uint8 [H, W], as uint8 [h, w]: that of `render_center`."""
    height, width = sides_of(size)
    if fit == "pad":
        whole = np.array([[0, 0, *mask.shape]], np.uint16)
        return render_mask(mask, whole, np.zeros(1, np.bool_), size, fit)[0]
    cut = center_cut((mask.shape[0], mask.shape[1]), (height, width), crop)
    (top, left), (tall, wide) = cut.corner, cut.sides
    rows = top + _nearest(tall, cut.resized[0])[cut.offset[0] : cut.offset[0] + height]
    columns = left + _nearest(wide, cut.resized[1])[cut.offset[1] : cut.offset[1] + width]
    view = torch.empty((height, width), dtype=torch.uint8)
    _take(mask, rows, columns, view)
    return view


def _nearest(length: int, size: int) -> NDArray[np.int64]:
    """Return which of `length` pixels lies at the centre of each of `size`, int64 [size]."""
    return (2 * np.arange(size) + 1) * length // (2 * size)


def _take(mask: Tensor, rows: NDArray[np.int64], columns: NDArray[np.int64], out: Tensor) -> None:
    """Write rows and columns of a mask into `out`, uint8 [h, w]."""
    high = mask.index_select(0, torch.from_numpy(rows))
    out.copy_(high.index_select(1, torch.from_numpy(np.ascontiguousarray(columns))))
