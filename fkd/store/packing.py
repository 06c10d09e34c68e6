"""How a block's numbers are rearranged so that what is left for the compressor is small and skewed.

Every function here has an exact inverse, so nothing depends on what the numbers mean.
Legend: n images of a block, M crops, K kept classes, P palette width.
"""

import numpy as np
from numpy.typing import NDArray

from fkd.views import Boxes, Sizes

Codes = NDArray[np.uint8]
Ids = NDArray[np.unsignedinteger]


def pack_boxes(box: Boxes, size: Sizes) -> NDArray[np.uint16]:
    """Turn boxes u16 [n, M, 4] of images of size u16 [n, 2] into (top, left, H - h, w - 3h / 4).

    Where the view policy draws ratios between 3/4 and 4/3, h bounds w from below and H bounds h from
    above, so both remainders are smaller and more skewed than the sides. All is modulo 2^16.
    """
    packed = box.copy()
    packed[..., 2] = size[:, None, 0] - box[..., 2]
    packed[..., 3] -= _least_width(box[..., 2])
    return packed


def unpack_boxes(packed: NDArray[np.uint16], size: Sizes) -> Boxes:
    """Undo `pack_boxes`, in place."""
    np.subtract(size[:, None, 0], packed[..., 2], out=packed[..., 2])
    packed[..., 3] += _least_width(packed[..., 2])
    return packed


def _least_width(height: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return floor(3 h / 4) of u16 heights, which u16 arithmetic would overflow above 21,845."""
    least: NDArray[np.uint16] = height - (height >> 2) - ((height & 3) != 0)
    return least


def pack_codes(code: Codes) -> Codes:
    """Turn codes u8 [n, M, K], which never fall with rank, into their steps from rank to rank."""
    return np.diff(code, axis=2, prepend=np.uint8(0))


def unpack_codes(steps: Codes) -> Codes:
    """Undo `pack_codes`, rank by rank, in place."""
    for rank in range(1, steps.shape[2]):
        steps[:, :, rank] += steps[:, :, rank - 1]
    return steps


def pack_ids(index: Ids, width: int) -> tuple[Ids, Ids]:
    """Split ids [n, M, K] into palettes [n, P], padded with 0, and positions in them [n, M, K].

    The M crops of an image share few classes. Listed once per image, most frequent first, they turn
    ids into small, skewed numbers, while every crop stays readable without the others.
    """
    palette = np.zeros((len(index), width), index.dtype)
    slot = np.empty_like(index)
    for row, ids in enumerate(index):
        classes, inverse, counts = np.unique(ids, return_inverse=True, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        palette[row, : len(classes)] = classes[order]
        position = np.empty(len(classes), index.dtype)
        position[order] = np.arange(len(classes), dtype=index.dtype)
        slot[row] = position[inverse].reshape(ids.shape)
    return palette, slot


def unpack_ids(palette: Ids, slot: Ids) -> Ids:
    """Return the class ids [n, m, K] of palette positions [n, m, K]."""
    rows, width = palette.shape
    # Half the memory traffic of int64, and palettes are far smaller than 2^31 entries a read.
    start = np.arange(0, rows * width, width, dtype=np.int32 if rows * width < 2**31 else np.int64)
    ids: Ids = palette.reshape(-1).take(start[:, None, None] + slot)
    return ids
