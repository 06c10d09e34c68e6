"""Where in its view a crop stands that keeps its shape: at the upper left, and the rest is grey.

One factor resizes both sides until the crop just fits, so one side is as long as the view's. The other
one is rounded, halves up, to one pixel at least. All of it is whole numbers, the same everywhere.
"""

import numpy as np
from numpy.typing import NDArray

from fkd.config import Size, sides_of

# What is around a crop: the middle of 0 to 255. Scaled to [-1, 1] it is 0 within 1 / 255, and normalised
# as for ImageNet each channel is within half a standard deviation of zero.
PADDING = 127


def fitted(sides: NDArray[np.integer], size: Size) -> NDArray[np.int64]:
    """Return the height and width in pixels that crops of `sides` have in views of `size`.

    Both are int64 […, 2]. A crop of H × W pixels that is flatter than its view of h × w, W · h > H · w,
    gets the width w and the height max(1, (2 · H · w + W) div 2W); others get the height h and the width
    max(1, (2 · W · h + H) div 2H).
    """
    high, wide = sides_of(size)
    tall, broad = np.moveaxis(np.maximum(sides.astype(np.int64), 1), -1, 0)
    flat = broad * high > tall * wide
    down = np.where(flat, np.maximum(1, (2 * tall * wide + broad) // (2 * broad)), high)
    across = np.where(flat, wide, np.maximum(1, (2 * broad * high + tall) // (2 * tall)))
    return np.stack([down, across], axis=-1)
