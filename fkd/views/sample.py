"""Which boxes and flips are drawn of an image: a pure function of seed, image and crop.

Legend: M stored crops of one image, H and W its height and width.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fkd.config import ViewPolicy

Boxes = NDArray[np.uint16]  # […, 4]: top, left, height, width in source pixels
Flips = NDArray[np.bool_]  # […]
Sizes = NDArray[np.uint16]  # […, 2]: height and width of images

SAMPLER = "random-resized-crop-1"

_ATTEMPTS = 10
_DRAWS = 4 * _ATTEMPTS + 1  # per crop: area, ratio, top, left for each attempt, then the flip


def sample_views(
    policy: ViewPolicy, image_index: int, num_crops: int, height: int, width: int
) -> tuple[Boxes, Flips]:
    """Draw the first `num_crops` views of one image: boxes u16 [M, 4] and flips bool [M].

    The distribution is torchvision's RandomResizedCrop followed by a coin for the horizontal flip.
    View j depends on (seed, image index, j) and the image's size alone: never on M, on the batch or
    on the process that draws it.
    """
    draws = _uniform(policy.seed, image_index, num_crops)
    area, ratio, top, left = np.moveaxis(draws[:, :-1].reshape(num_crops, _ATTEMPTS, 4), 2, 0)
    low, high = policy.scale
    target_area = height * width * (low + (high - low) * area)
    log_low, log_high = math.log(policy.ratio[0]), math.log(policy.ratio[1])
    aspect = np.exp(log_low + (log_high - log_low) * ratio)
    crop_width = np.rint(np.sqrt(target_area * aspect)).astype(np.int64)
    crop_height = np.rint(np.sqrt(target_area / aspect)).astype(np.int64)
    fits = (crop_width > 0) & (crop_width <= width) & (crop_height > 0) & (crop_height <= height)

    rows, first = np.arange(num_crops), fits.argmax(axis=1)
    crop_height, crop_width = crop_height[rows, first], crop_width[rows, first]
    crop_top = np.floor(top[rows, first] * (height - crop_height + 1))
    crop_left = np.floor(left[rows, first] * (width - crop_width + 1))
    boxes = np.stack([crop_top, crop_left, crop_height, crop_width], axis=1).astype(np.int64)
    boxes[~fits.any(axis=1)] = _fallback_box(policy.ratio, height, width)
    return boxes.astype(np.uint16), draws[:, -1] < 0.5


def _uniform(seed: int, image_index: int, num_crops: int) -> NDArray[np.float64]:
    """Return doubles in [0, 1), [M, draws per crop], one row per crop.

    Raw Philox words are part of NumPy's stability promise; the methods of `Generator` are not.
    """
    key = np.random.SeedSequence((seed, image_index))
    words = np.random.Philox(key).random_raw(num_crops * _DRAWS)
    numbers = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers.reshape(num_crops, _DRAWS)


def _fallback_box(ratio: tuple[float, float], height: int, width: int) -> tuple[int, int, int, int]:
    """Return the largest centred box whose aspect is allowed: what RandomResizedCrop falls back to."""
    crop_height, crop_width = height, width
    if width / height < ratio[0]:
        crop_height = min(height, max(1, round(width / ratio[0])))
    elif width / height > ratio[1]:
        crop_width = min(width, max(1, round(height * ratio[1])))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


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
