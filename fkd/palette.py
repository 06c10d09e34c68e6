"""Class ids of one image's crops as positions in the image's own palette.

The M crops of an image share few classes. Listed once per image, most frequent first, they turn ids
into small, skewed numbers, which any entropy coder packs well, while every crop stays readable alone.
Legend: n images of a block, M crops, K kept classes, P palette width.
"""

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.unsignedinteger]


def build_palette(index: Ids, width: int) -> tuple[Ids, Ids]:
    """Split ids [n, M, K] into palettes [n, P], padded with 0, and positions in them [n, M, K]."""
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


def apply_palette(palette: Ids, slot: Ids) -> Ids:
    """Return the class ids [n, m, K] of palette positions [n, m, K]."""
    rows, width = palette.shape
    # Half the memory traffic of int64, and palettes are far smaller than 2^31 entries a read.
    start = np.arange(0, rows * width, width, dtype=np.int32 if rows * width < 2**31 else np.int64)
    ids: Ids = palette.reshape(-1).take(start[:, None, None] + slot)
    return ids
