"""Refuse what decodes and yet cannot be: boxes outside of their images, ids that are no class, NaN.

A checksum says that bytes are those that were written, not that they were written by a labeller.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def outside(box: Array, size: Array) -> NDArray[np.bool_]:
    """Say of boxes u16 [n, m, 4] whether they leave their images of size u16 [n, 2]: bool [n, m].

    An image of size (0, 0) has no labels, and its boxes mean nothing.
    """
    wrong = np.zeros(box.shape[:2], np.bool_)
    for side in (0, 1):
        first, extent, whole = box[..., side], box[..., side + 2], size[:, side, None]
        # In 16 bits: an extent of 0 wraps to more than any image has, and so is outside.
        wrong |= (first >= whole) | (extent - 1 > whole - 1 - first)
    wrong[(size == 0).all(axis=1)] = False
    return wrong
