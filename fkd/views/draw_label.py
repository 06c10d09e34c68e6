"""The number by which classes are drawn from the label of a crop: a function of seed, image and crop."""

import numpy as np
from numpy.typing import NDArray

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_ATTEMPT = 10  # boxes take 0 to 9 of a crop's sixteen words


def label_draws(
    seed: int, image_index: NDArray[np.int64], crop_index: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return numbers in [0, 1), f64 of the shape that images and crops have together.

    With G = 0x9e3779b97f4a7c15, the finalizer mix of SplitMix64 and all modulo 2^64, they are the top 53
    bits of mix(mix(mix(seed + G) + (image + 1) · G) + (16 · crop + 11) · G), in parts of 2^53.
    """
    key = _mix(np.array(seed, np.uint64)[None] + _GAMMA)
    key = _mix(key + (np.asarray(image_index).astype(np.uint64) + np.uint64(1)) * _GAMMA)
    step = np.asarray(crop_index).astype(np.uint64) * np.uint64(16) + np.uint64(_ATTEMPT + 1)
    word = _mix(key + step * _GAMMA)
    return (word >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the finalizer of SplitMix64."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
