"""The sampler `random-resized-crop-1`: NumPy's Philox, and the logarithms of whatever library is there.

Stores of format versions 1 and 2 were drawn by it. They hold their boxes, since libraries round
logarithms in ways of their own.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fkd.config import ViewPolicy
from fkd.views.boxes import Boxes, Flips, Sizes, largest_boxes

_ATTEMPTS = 10
_DRAWS = 4 * _ATTEMPTS + 1  # per crop: area, ratio, top, left for each attempt, then the flip


def draw_views(
    policy: ViewPolicy, images: NDArray[np.int64], crops: NDArray[np.int64], sizes: Sizes
) -> tuple[Boxes, Flips]:
    """Draw crops, int64 [m], of images, int64 [n], of `sizes` u16 [n, 2]: u16 [n, m, 4], bool [n, m].

    An image with a side of 0, which has no labels, gets zeros.
    """
    boxes = np.zeros((len(images), len(crops), 4), np.uint16)
    flips = np.zeros((len(images), len(crops)), np.bool_)
    for row, (image_index, (height, width)) in enumerate(
        zip(images.tolist(), sizes.tolist(), strict=True)
    ):
        if height and width and len(crops):
            count = int(crops.max()) + 1  # a crop's numbers follow those of the crops before it
            box, flip = _draw_image(policy, image_index, count, height, width)
            boxes[row], flips[row] = box[crops], flip[crops]
    return boxes, flips


def _draw_image(
    policy: ViewPolicy, image_index: int, num_crops: int, height: int, width: int
) -> tuple[Boxes, Flips]:
    """Draw the first crops of one image: boxes u16 [M, 4] and flips bool [M]."""
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
    boxes[~fits.any(axis=1)] = largest_boxes(policy.ratio, np.array([[height, width]], np.uint16))
    return boxes.astype(np.uint16), draws[:, -1] < 0.5


def _uniform(seed: int, image_index: int, num_crops: int) -> NDArray[np.float64]:
    """Return doubles in [0, 1), [M, draws per crop], one row per crop.

    Raw Philox words are part of NumPy's stability promise; the methods of `Generator` are not.
    """
    key = np.random.SeedSequence((seed, image_index))
    words = np.random.Philox(key).random_raw(num_crops * _DRAWS)
    numbers = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers.reshape(num_crops, _DRAWS)
