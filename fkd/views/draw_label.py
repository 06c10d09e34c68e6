"""The number by which classes are drawn from the label of a crop: a function of seed, image and crop."""

import numpy as np
from numpy.typing import NDArray

from fkd.views.draw import GAMMA, image_keys, mix

_PLACE = np.uint64(11)  # among a crop's sixteen words; boxes take the first ten


def label_draws(
    seed: int, image_index: NDArray[np.int64], crop_index: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return numbers in [0, 1), f64 of the shape that images and crops have together.

    They are the top 53 bits, in parts of 2^53, of what would be the bits of a crop's attempt 10 in
    `fkd.views.draw.draw_views`.
    """
    step = np.asarray(crop_index).astype(np.uint64) * np.uint64(16) + _PLACE
    word = mix(image_keys(seed, np.asarray(image_index)) + step * GAMMA)
    return (word >> np.uint64(11)).astype(np.float64) * 2.0**-53
