"""Which images are mixed with each other: pairs that anyone can work out, and that change with the crops.

Images 0 … N - 1 stand in an order that each group of crops has to itself, F(0), F(1), …, and neighbours
F(2t) and F(2t + 1) are a pair. Of an odd number, the last one is its own partner. So a partner's partner
is the image itself, and who visits both side by side decodes each of them once.

F is a permutation of which any value, and its inverse, is worked out alone: a Feistel network whose
halves are the row and the column of an image in a table of ⌈√N⌉ rows. A place of the table that is past
the last image is mapped again, until it is not. All of it is integer arithmetic.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fkd.views.draw import GAMMA, image_keys, mix

Places = NDArray[np.int64]
Words = NDArray[np.uint64]

# A group's key is that of an image past all images that a store can have.
_FIRST_GROUP = 2**62
_ROUNDS = 6


def partners(seed: int, groups: Places, num_images: int, images: Places) -> Places:
    """Return the partners of `images` in `groups` of crops, int64 of the shape that both have together.

    Of N = `num_images`, with (u, v) the row and column of a place in a table of a = ⌈√N⌉ rows and
    b = ⌈N / a⌉ columns, G and mix as in `fkd.views.draw` and key that of image 2^62 + group there,
    round r = 1 … 6 of F is

        word(x) = mix(mix(key + r · G) + (x + 1) · G)
        u ← (u + word(v)) mod a  for odd r,    v ← (v + word(u)) mod b  for even r.
    """
    groups, images = np.atleast_1d(groups), np.atleast_1d(images)
    order = _Order(seed, groups, num_images)
    place = order.place_of(images.astype(np.uint64))
    beside = place ^ np.uint64(1)
    found = order.image_at(np.where(beside < np.uint64(num_images), beside, place))
    return found.astype(np.int64)


class _Order:
    """The orders of N images that `groups` have; arrays that it takes broadcast with these."""

    def __init__(self, seed: int, groups: Places, num_images: int) -> None:
        rows = math.isqrt(max(0, num_images - 1)) + 1
        self._rows, self._columns = np.uint64(rows), np.uint64(-(-num_images // rows))
        self._count = np.uint64(num_images)
        keys = image_keys(seed, groups + _FIRST_GROUP)
        # A product of arrays, since one of scalars warns where it wraps around.
        steps = np.arange(1, _ROUNDS + 1, dtype=np.uint64) * GAMMA
        self._keys = [mix(keys + step) for step in steps]

    def image_at(self, places: Words) -> Words:
        """Return the images at places of the order: F."""
        return self._walk(places, self._forth)

    def place_of(self, images: Words) -> Words:
        """Return the places of images in the order: F's inverse."""
        return self._walk(images, self._back)

    def _walk(self, values: Words, step: Callable[[Words], Words]) -> Words:
        """Map values until all of them are below N: each cycle of the table has one that is."""
        values = step(values)
        while (over := values >= self._count).any():
            values = np.where(over, step(values), values)
        return values

    def _forth(self, values: Words) -> Words:
        row, column = np.divmod(values, self._columns)
        for number, key in enumerate(self._keys):
            if number % 2 == 0:
                row = (row + _word(key, column) % self._rows) % self._rows
            else:
                column = (column + _word(key, row) % self._columns) % self._columns
        return row * self._columns + column

    def _back(self, values: Words) -> Words:
        row, column = np.divmod(values, self._columns)
        for number, key in reversed(list(enumerate(self._keys))):
            if number % 2 == 0:
                shift = _word(key, column) % self._rows
                row = (row + self._rows - shift) % self._rows
            else:
                shift = _word(key, row) % self._columns
                column = (column + self._columns - shift) % self._columns
        return row * self._columns + column


def _word(key: Words, half: Words) -> Words:
    return mix(key + (half + np.uint64(1)) * GAMMA)
