"""The sampler `random-resized-crop-2`: boxes and flips that are the same wherever they are drawn.

All of it is integer arithmetic modulo 2^64 and IEEE operations that are rounded correctly (+ - * /, sqrt,
rint). So a box that anyone draws again is the box that was labelled, and no store has to hold it.

Legend: n images, m crops of each, H and W an image's height and width; a piece is what is drawn at once.
"""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fkd.config import Fit, ViewPolicy
from fkd.views.boxes import Boxes, Flips, Sizes, largest_boxes

Scalar = TypeVar("Scalar", bound=np.generic)
Words = NDArray[np.uint64]
Numbers = NDArray[np.float64]
Sides = NDArray[np.uint32]
Places = NDArray[np.int64]

GAMMA = np.uint64(0x9E3779B97F4A7C15)
_STEPS = np.uint64(16)  # words of a crop, some more than there are attempts

# A word's bits from the top: area 19, ratio 12, top 16, left 16, flip 1. At the usual scale a side of
# 65,535 pixels grows by a fifth of a pixel at most from one area to the next, and every place is drawn.
_AREA, _RATIO, _PLACES = np.uint64(45), np.uint64(33), np.uint64(1)
_AREAS, _RATIOS = 2**19, 2**12
_TOP, _LEFT = np.uint32(16), np.uint32(0xFFFF)

# The attempts after the first, [r, 1]. Few crops need the last ones, which are cheaper all at once.
_LATER = [np.arange(a, b, dtype=np.uint64)[:, None] for a, b in ((1, 2), (2, 3), (3, 10))]

# What is worked on stays in the cache, and is long enough that numpy's cost a call is small.
_AT_ONCE = 32_768
_SHORT = 64


def draw_views(
    policy: ViewPolicy, images: Places, crops: Places, sizes: Sizes
) -> tuple[Boxes, Flips]:
    """Draw crops, int64 [m], of images, int64 [n], of `sizes` u16 [n, 2]: u16 [n, m, 4], bool [n, m].

    With G = 0x9e3779b97f4a7c15, the finalizer mix of SplitMix64 and all modulo 2^64, the bits of
    attempt a = 0 … 9 are

        word = mix(mix(mix(seed + G) + (image + 1) · G) + (16 · crop + a + 1) · G).

    With u = (area + 1/2) / 2^19 and s = sqrt(H · W · (scale0 + (scale1 - scale0) · u)), and with the
    square root g of one of 4096 ratios, width = rint(s · g) and height = rint(s / g). The first attempt
    that fits into the image is taken, else the largest centred box of an allowed ratio. An image with a
    side of 0, which has no labels, gets zeros.

    Of a policy whose crops are padded, g is relative to the image's own ratio: s has no factor H · W, and
    width = rint(s · g · W) and height = rint(s / g · H).
    """
    boxes = np.zeros((len(images), len(crops), 4), np.uint16)
    flips = np.zeros((len(images), len(crops)), np.bool_)
    draw = _Draw(policy, min(flips.size, _AT_ONCE))
    keys = image_keys(policy.seed, images)
    steps = (crops.astype(np.uint64) * _STEPS + np.uint64(1)) * GAMMA
    if len(crops) >= min(len(images), _SHORT):
        for rows, columns in _pieces(len(images), len(crops)):
            part = _Images(keys[rows], sizes[rows], 1, policy.fit)
            draw.piece(part, steps[None, columns], boxes[rows, columns], flips[rows, columns])
    else:  # an inner loop over a few crops would cost more than what is done in it
        for columns, rows in _pieces(len(crops), len(images)):
            part, where = _Images(keys[rows], sizes[rows], 0, policy.fit), (rows, columns)
            out = boxes[where].transpose(1, 0, 2), flips[where].T
            draw.piece(part, steps[columns, None], *out)
    absent = (sizes == 0).any(axis=1)
    boxes[absent], flips[absent] = 0, False
    return boxes, flips


def _pieces(outer: int, inner: int) -> list[tuple[slice, slice]]:
    """Cut [outer, inner] into pieces of at most so many crops, the inner axis in as few as possible."""
    wide = max(1, min(inner, _AT_ONCE))
    tall = _AT_ONCE // wide
    return [
        (slice(a, min(a + tall, outer)), slice(b, min(b + wide, inner)))
        for a in range(0, outer, tall)
        for b in range(0, inner, wide)
    ]


class _Images:
    """The images of a piece: words [n], heights, widths and areas, and the same along one of its axes.

    Of crops that are padded, areas are 1 and `shape` has heights and widths to multiply sides by.
    """

    def __init__(self, keys: Words, sizes: Sizes, axis: int, fit: Fit) -> None:
        self.keys, self.sizes, self._axis = keys, sizes, axis
        self.height, self.width = sizes.T.astype(np.uint32)
        self.shape: tuple[Numbers, Numbers] | None = None
        if fit == "fill":
            self.area = sizes[:, 0].astype(np.float64) * sizes[:, 1]
        else:
            self.area = np.ones(len(sizes))
            self.shape = sizes[:, 0].astype(np.float64), sizes[:, 1].astype(np.float64)

    def along(self, values: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return one value an image as it is broadcast over a piece."""
        return values[:, None] if self._axis else values[None]

    def of(self, place: Places, inner: int) -> tuple[Places, Places]:
        """Return the image and the crop of places in a piece whose inner axis is so long."""
        outer = place // inner
        axes = outer, place - outer * inner
        return axes[1 - self._axis], axes[self._axis]


class _Draw:
    """The policy in numbers, and room to work in."""

    def __init__(self, policy: ViewPolicy, most: int) -> None:
        low, high = policy.scale
        self._low, self._slope = low, (high - low) / _AREAS
        self._ratio, self._roots = policy.ratio, ratio_roots(policy.ratio)
        self._fit = policy.fit
        self._word = np.empty(most, np.uint64)
        at_once = most * max(len(attempts) for attempts in _LATER)
        self._spare = np.empty(at_once, np.uint64)
        self._side, self._root = np.empty((2, at_once), np.float64)

    def piece(self, images: _Images, steps: Words, boxes: Boxes, flips: Flips) -> None:
        """Draw the crops of `steps` into `boxes` u16 [a, b, 4] and `flips` bool [a, b]."""
        shape, count = flips.shape, flips.size
        word = self._word[:count].reshape(shape)
        np.add(images.along(images.keys), steps, out=word)
        mix(word, self._spare[:count].reshape(shape))
        np.copyto(flips, word & np.uint64(1), casting="unsafe")
        shape_of = images.shape and [images.along(side) for side in images.shape]
        height, width = self._sides(word, images.along(images.area), shape_of)
        tallest, widest = images.along(images.height), images.along(images.width)
        fits = _within(height, tallest) & _within(width, widest)
        never = self._again(images, steps.reshape(-1), ~fits, (word, height, width))

        place = (word >> _PLACES).astype(np.uint32)
        boxes[..., 0] = ((place >> _TOP) * (tallest - height + np.uint32(1))) >> np.uint32(16)
        boxes[..., 1] = ((place & _LEFT) * (widest - width + np.uint32(1))) >> np.uint32(16)
        boxes[..., 2], boxes[..., 3] = height, width
        if never.size:
            image, _ = images.of(never, shape[1])
            boxes[never // shape[1], never % shape[1]] = largest_boxes(
                self._ratio, images.sizes[image], self._fit
            )

    def _again(
        self,
        images: _Images,
        steps: Words,
        misfits: NDArray[np.bool_],
        drawn: tuple[NDArray[Any], ...],
    ) -> Places:
        """Try again for crops that do not fit, put in what does, and return where nothing did."""
        left = np.flatnonzero(misfits)
        image, crop = images.of(left, misfits.shape[1])
        base = images.keys.take(image) + steps.take(crop)
        for attempts in _LATER:
            if not left.size:
                break
            word = mix(base + attempts * GAMMA)
            shape_of = images.shape and [side.take(image) for side in images.shape]
            height, width = self._sides(word, images.area.take(image), shape_of)
            fits = _within(height, images.height.take(image))
            fits &= _within(width, images.width.take(image))
            some = fits.any(axis=0)
            taken, others = np.flatnonzero(some), np.flatnonzero(~some)
            first = fits.argmax(axis=0).take(taken) * left.size + taken
            found: tuple[NDArray[Any], ...] = word, height, width
            for whole, one in zip(drawn, found, strict=True):
                whole.reshape(-1)[left.take(taken)] = one.take(first)
            left, image, base = left.take(others), image.take(others), base.take(others)
        return left

    def _sides(
        self, word: Words, area: Numbers, image: Sequence[Numbers] | None
    ) -> tuple[Sides, Sides]:
        """Return the heights and widths that words ask for in images of so many pixels.

        They are multiplied by those of the `image` where it is given.
        """
        shape, count = word.shape, word.size
        number = self._spare[:count].reshape(shape)
        side, root = (room[:count].reshape(shape) for room in (self._side, self._root))
        np.right_shift(word, _AREA, out=number)
        np.copyto(side, number.view(np.int64))
        side += 0.5
        side *= (
            self._slope
        )  # a power of two is in it, so this is (scale1 - scale0) · u to the last bit
        side += self._low
        side *= area
        np.sqrt(side, out=side)
        np.right_shift(word, _RATIO, out=number)
        number &= np.uint64(_RATIOS - 1)
        self._roots.take(number.view(np.int64), out=root, mode="clip")
        width = np.multiply(side, root, out=number.view(np.float64))
        height = np.divide(side, root, out=side)
        if image is not None:
            height *= image[0]
            width *= image[1]
        return _rounded(height), _rounded(width)


def _rounded(side: Numbers) -> Sides:
    """Round sides below 2^31, halves to even, in place."""
    return np.rint(side, out=side).astype(np.int32).view(np.uint32)


def _within(side: Sides, most: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Return which sides are from 1 to `most`; one of 0 wraps to more than any image has."""
    return side - np.uint32(1) < most


def image_keys(seed: int, images: Places) -> Words:
    """Return what all words of images, int64, begin with: mix(mix(seed + G) + (image + 1) · G)."""
    begin = mix(np.array([seed], np.uint64) + GAMMA)
    return mix(begin + (images.astype(np.uint64) + np.uint64(1)) * GAMMA)


def mix(word: Words, spare: Words | None = None) -> Words:
    """Apply the finalizer of SplitMix64, in place."""
    spare = np.empty_like(word) if spare is None else spare
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        np.right_shift(word, np.uint64(shift), out=spare)
        word ^= spare
        if factor > 1:
            word *= np.uint64(factor)
    return word


@lru_cache(8)
def ratio_roots(ratio: tuple[float, float]) -> Numbers:
    """Return sqrt(ratio0 · (ratio1 / ratio0)^((k + 1/2) / 4096)), k = 0 … 4095, to the nearest double.

    Libraries round powers in ways of their own. 60 digits leave no doubt, and cost 10 ms a policy.
    """
    with localcontext() as context:
        context.prec = 60
        low, high = Decimal(ratio[0]), Decimal(ratio[1])
        half_step = high / low
        for _ in range(14):
            half_step = half_step.sqrt()
        root, roots = low.sqrt() * half_step, []
        for _ in range(_RATIOS):
            roots.append(float(root))
            root *= half_step * half_step
    return np.array(roots)
