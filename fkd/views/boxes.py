"""Which part of an image a view is of: boxes and flips, whoever drew them.

Legend: n images, m crops of each, H and W an image's height and width.
"""

import numpy as np
import xxhash
from numpy.typing import NDArray

from fkd.config import Fit

Boxes = NDArray[np.uint16]  # […, 4]: top, left, height, width in source pixels
Flips = NDArray[np.bool_]  # […]
Sizes = NDArray[np.uint16]  # […, 2]: height and width of images


def outside(box: Boxes, size: Sizes) -> NDArray[np.bool_]:
    """Return which boxes u16 [n, m, 4] leave their images of size u16 [n, 2]: bool [n, m].

    An image of size (0, 0) has no labels, so its boxes count as inside.
    """
    wrong = np.zeros(box.shape[:2], np.bool_)
    for side in (0, 1):
        first, extent, whole = box[..., side], box[..., side + 2], size[:, side, None]
        # In 16 bits: an extent of 0 wraps to more than any image has, and so is outside.
        wrong |= (first >= whole) | (extent - 1 > whole - 1 - first)
    wrong[(size == 0).all(axis=1)] = False
    return wrong


def largest_boxes(ratio: tuple[float, float], size: Sizes, fit: Fit = "fill") -> Boxes:
    """Return the largest centred boxes of an allowed ratio, u16 [n, 4]: RandomResizedCrop's last resort.

    `size` u16 [n, 2] are heights and widths of images. With `fit` "pad" a ratio is relative to that of
    the image.
    """
    height, width = np.maximum(size, 1).T.astype(np.float64)
    low, high = ratio
    across, down = (width, height) if fit == "fill" else (height, width)
    tall, wide = np.rint(across / low).clip(1, height), np.rint(down * high).clip(1, width)
    top, left = (height - tall) // 2, (width - wide) // 2
    return np.stack([top, left, tall, wide], axis=1).astype(np.uint16)


# What a hash that differs means, for whoever compares one.
OTHER_VIEWS = "the boxes that this machine draws are not those that were labelled"


def hash_views(box: Boxes, flip: Flips, chunk_crops: int) -> NDArray[np.uint64]:
    """Return the hash of each run of `chunk_crops` crops of n images, u64 [m / chunk_crops, rounded up].

    It is XXH3 (64 bits, seed 0) over the run's boxes [n, q, 4] as little-endian uint16, then over its
    flips [n, q] as bytes, both in C order.
    """
    hashes = []
    for first in range(0, flip.shape[1], chunk_crops):
        crops = slice(first, first + chunk_crops)
        content = xxhash.xxh3_64(box[:, crops].astype("<u2").tobytes())
        content.update(flip[:, crops].astype(np.uint8).tobytes())
        hashes.append(content.intdigest())
    return np.array(hashes, np.uint64)
