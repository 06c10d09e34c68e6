"""How the tone of views changes, and what is erased: functions of seed, image and crop.

As in `fkd.views.draw`, all of it is integer arithmetic modulo 2^64 and IEEE operations that are rounded
correctly. So what anyone draws again is what was labelled, and no store has to hold it.

Legend: n images, m crops of each.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.config import TonePolicy
from fkd.views.draw import GAMMA, image_keys, mix, ratio_roots
from fkd.views.mixing import SIDE

Places = NDArray[np.int64]
Words = NDArray[np.uint64]
Factors = NDArray[np.uint8]  # […, 3]: of brightness, contrast and saturation, in 128th parts
Erased = NDArray[np.uint16]  # […, 4]: top, left, height, width, in 65,535th parts of a view's sides

SAME = 128  # the factor that changes nothing

# Seeds are below 2^63, so that no seed's boxes are drawn from the words of another one's tones.
_STREAM = 2**63
_FACTORS, _ERASES, _PLACES = (
    np.uint64(place) for place in (1, 2, 3)
)  # among a crop's sixteen words
_FRACTION = 21  # bits of a factor

# As in `fkd.views.draw`: what is worked on stays in the cache.
_AT_ONCE = 32_768

# Random erasing (Zhong et al., AAAI 2020) within the bounds that trainers have come to use.
_AREA = 0.02, 1 / 3
_RATIO = 0.3, 3.3


@dataclass(frozen=True)
class Tones:
    """What is done to views; the leading axes are those of the views.

    `factor` u8 […, 3] are of brightness, contrast and saturation in 128th parts, 128 for no change, and
    `hole` u16 […, 4] is the top, left, height and width of what is erased, in 65,535th parts of a view's
    sides: zeros where nothing is.
    """

    factor: Factors
    hole: Erased

    def __getitem__(self, rows: Any) -> "Tones":
        """Return some of them, as NumPy indexes the leading axes."""
        return Tones(self.factor[rows], self.hole[rows])


def draw_tones(policy: TonePolicy, seed: int, numbers: Places, crops: Places) -> Tones:
    """Draw the tones of crops, int64 [m], of images of `numbers`, int64 [n]: u8 [n, m, 3], u16 [n, m, 4].

    With G and mix as in `fkd.views.draw.draw_views`, a crop has the words

        word(k) = mix(mix(mix(seed + 2^63 + G) + (number + 1) · G) + (16 · crop + k) · G).

    Word 1 has 21 bits v for each factor, from the top. With u = (v + 1/2) / 2^21 and the strength s it
    is rint(128 · (1 - s + 2 · s · u)), at most 255. A part is erased if the top 53 bits of word 2, in
    parts of 2^53, are below the probability. Word 3 has, from the top, 19 bits v of the area, 12 of the
    ratio, and 16 each of top and left. With u = (v + 1/2) / 2^19, s = sqrt(0.02 + (1/3 - 0.02) · u) and
    the square root g of one of 4096 ratios from 0.3 to 3.3, the width is rint(65535 · s · g) and the
    height rint(65535 · s / g), at most 65,535 each. The top is (bits · (65536 - height)) >> 16, and so
    the left.
    """
    shape = len(numbers), len(crops)
    grid = np.broadcast_arrays(numbers[:, None], crops[None])
    drawn = tones_of(policy, seed, *(places.reshape(-1) for places in grid))
    return Tones(drawn.factor.reshape(*shape, 3), drawn.hole.reshape(*shape, 4))


def tones_of(policy: TonePolicy, seed: int, numbers: Places, crops: Places) -> Tones:
    """Draw the tones of n views: of crops, int64 [n], of images of `numbers`, int64 [n]."""
    factor = np.full((len(numbers), 3), SAME, np.uint8)
    hole = np.zeros((len(numbers), 4), np.uint16)
    for first in range(0, len(numbers), _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        keys = image_keys(seed + _STREAM, numbers[rows])
        _draw(policy, keys, crops[rows].astype(np.uint64), factor[rows], hole[rows])
    return Tones(factor, hole)


def _draw(policy: TonePolicy, keys: Words, crops: Words, factor: Factors, hole: Erased) -> None:
    """Draw the tones of views into `factor` and `hole`."""
    steps = crops * np.uint64(16)
    strengths = policy.brightness, policy.contrast, policy.saturation
    if any(strengths):
        word = mix(keys + (steps + _FACTORS) * GAMMA)
        for place, strength in enumerate(strengths):
            if strength:
                factor[:, place] = _factors(word, place, strength)
    if policy.erase:
        chance = mix(keys + (steps + _ERASES) * GAMMA) >> np.uint64(11)
        erased = chance.astype(np.float64) * 2.0**-53 < policy.erase
        hole[erased] = _holes(mix((keys + (steps + _PLACES) * GAMMA)[erased]))


def _factors(word: Words, place: int, strength: float) -> Factors:
    bits = word >> np.uint64(64 - _FRACTION * (place + 1)) & np.uint64(2**_FRACTION - 1)
    share = (bits.astype(np.float64) + 0.5) * 2.0**-_FRACTION
    factor = (1.0 - strength + 2.0 * strength * share) * SAME
    return np.rint(factor).clip(max=255).astype(np.uint8)


def _holes(word: Words) -> Erased:
    """Return rectangles that lie inside a view, u16 [k, 4], of words [k]."""
    low, high = _AREA
    share = ((word >> np.uint64(45)).astype(np.float64) + 0.5) * 2.0**-19
    side = np.sqrt(low + (high - low) * share) * SIDE
    root = ratio_roots(_RATIO)[(word >> np.uint64(33) & np.uint64(4095)).astype(np.int64)]
    extents = [np.rint(x).clip(max=SIDE).astype(np.uint64) for x in (side / root, side * root)]
    starts = [
        (word >> np.uint64(shift) & np.uint64(SIDE)) * (np.uint64(SIDE + 1) - extent)
        for shift, extent in zip((17, 1), extents, strict=True)
    ]
    corner = [start >> np.uint64(16) for start in starts]
    return np.stack([*corner, *extents], axis=-1).astype(np.uint16)
