"""Views that are mixed with a partner's: how they are drawn, and the pixels of a mix.

A mixed view is made of two views as they are rendered. Mixup (Zhang et al., ICLR 2018) adds them in
shares; cutmix (Yun et al., ICCV 2019) puts a hole of one into the other. Teacher and student see the same
pixels: shares are whole numbers of 256th parts, sums are whole numbers, and a hole is in 65,535th parts
of a view's sides, so that it is the same part of views of any size.

Legend: n images, m crops of each, h and w the height and width of a view.
"""

from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64

from fkd.config import MixPolicy, Size, ViewPolicy, sides_of
from fkd.views.boxes import Boxes, Flips, Sizes
from fkd.views.draw import GAMMA, image_keys, mix
from fkd.views.samplers import SAMPLERS

Places = NDArray[np.int64]
Shares = NDArray[np.uint16]  # […]: the own view's share outside the hole, in 256th parts
Holes = NDArray[np.uint16]  # […, 4]: top, left, height, width, in 65,535th parts of a view's sides

WHOLE = 256  # a share: nothing of the partner
SIDE = 65_535  # of a view, in which holes are measured

# Among the sixteen words of a crop: boxes take the first ten, and the draw of a label the eleventh.
_WORDS = np.arange(12, 14, dtype=np.uint64)
_FRACTION = 2**24


@dataclass(frozen=True)
class Mixes:
    """What views are mixed with, one entry a view; the leading axes are those of the views.

    `image` int64 is the partner, `box` u16 […, 4] and `flip` bool are its view, `share` u16 is that of
    the own view in 256th parts, and inside `hole` u16 […, 4] all is the partner's. A view that is not
    mixed has its own image as a partner, a share of 256 and a hole of no width.
    """

    image: Places
    box: Boxes
    flip: Flips
    share: Shares
    hole: Holes

    def __getitem__(self, rows: Any) -> "Mixes":
        """Return some of them, as NumPy indexes the leading axes."""
        return Mixes(*(values[rows] for values in self._arrays))

    def __setitem__(self, rows: Any, mixes: "Mixes") -> None:
        """Put others in the place of some of them."""
        for values, others in zip(self._arrays, mixes._arrays, strict=True):
            values[rows] = others

    @property
    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return self.image, self.box, self.flip, self.share, self.hole

    @property
    def mixed(self) -> NDArray[np.bool_]:
        """Which views have something of a partner."""
        return np.logical_or(self.share < WHOLE, (self.hole[..., 2:] > 0).all(axis=-1))

    @property
    def own_share(self) -> NDArray[np.float32]:
        """The share of the own view in all pixels, f32: what a term to the truth weighs classes by."""
        area = self.hole[..., 2].astype(np.float64) * self.hole[..., 3] / SIDE**2
        return (self.share / WHOLE * (1.0 - area)).astype(np.float32)

    def unlike(self, other: "Mixes") -> NDArray[np.bool_]:
        """Say which views are mixed in another way than those of another, of the same axes."""
        differs: NDArray[np.bool_] = np.zeros(self.share.shape, np.bool_)
        for mine, theirs in zip(self._arrays, other._arrays, strict=True):
            differs |= (mine != theirs).reshape(*differs.shape, -1).any(axis=-1)
        return differs

    @staticmethod
    def none(images: Places) -> "Mixes":
        """Return those of views of `images`, int64, that are not mixed."""
        shape = images.shape
        return Mixes(
            images.copy(),
            np.zeros((*shape, 4), np.uint16),
            np.zeros(shape, np.bool_),
            np.full(shape, WHOLE, np.uint16),
            np.zeros((*shape, 4), np.uint16),
        )

    @staticmethod
    def concatenate(parts: "list[Mixes]", axis: int = 0) -> "Mixes":
        """Join those of different views along a leading axis."""
        arrays = zip(*(part._arrays for part in parts), strict=True)
        return Mixes(*(np.concatenate(values, axis) for values in arrays))


@dataclass(frozen=True)
class Partners:
    """The partners of n images in m crops: `image` int64 [n, m], and what their views are drawn by.

    `number` int64 [n, m] is the number by which its views are drawn, `size` u16 [n, m, 2] its height and
    width, 0 where it has no labels.
    """

    image: Places
    number: Places
    size: Sizes

    def runs(self) -> list[slice]:
        """Return the runs of crops, side by side, in which no image has another partner."""
        changes = (self.image[:, 1:] != self.image[:, :-1]).any(axis=0)
        edges = [0, *(np.flatnonzero(changes) + 1).tolist(), self.image.shape[1]]
        return [slice(a, b) for a, b in pairwise(edges) if a < b]


def draw_mixes(
    policy: ViewPolicy,
    sampler: str,
    images: Places,
    numbers: Places,
    crops: Places,
    other: Partners,
) -> Mixes:
    """Draw how `crops`, int64 [m], of `images`, int64 [n], are mixed with their partners': [n, m].

    `numbers` int64 [n] are those by which the images' own views are drawn. The partner's view is its own
    one of the same crop. With a partner that has no labels, or is the image itself, a view is not mixed.
    """
    mixes = Mixes.none(np.repeat(images[:, None], len(crops), axis=1))
    share, hole = draw_shares(policy.mix, policy.seed, numbers, crops)
    mixes.image[:], mixes.share[:], mixes.hole[:] = other.image, share, hole
    for run in other.runs():
        drawn = other.number[:, run.start], crops[run], other.size[:, run.start]
        mixes.box[:, run], mixes.flip[:, run] = SAMPLERS[sampler].draw(policy, *drawn)
    alone = (other.size == 0).any(axis=-1) | (other.image == images[:, None]) | ~mixes.mixed
    mixes.image[alone] = np.broadcast_to(images[:, None], alone.shape)[alone]
    mixes.box[alone], mixes.flip[alone] = 0, False
    mixes.share[alone], mixes.hole[alone] = WHOLE, 0
    return mixes


def hash_mixes(mixes: Mixes, content: NDArray[np.uint64], chunk_crops: int) -> NDArray[np.uint64]:
    """Return the hash of each run of `chunk_crops` crops of n images: u64 [m / chunk_crops, rounded up].

    It is XXH3 (64 bits, seed 0) over what the run's views [n, q] are mixed with, in the order box, flip,
    share, hole: flips as bytes, all else as little-endian uint16. Last come the content hashes of the
    partners as little-endian uint64, `content` [n, m], 0 for a view that is not mixed.
    """
    hashes = []
    content = np.where(mixes.mixed, content, np.uint64(0))
    for first in range(0, content.shape[1], chunk_crops):
        run = mixes[:, first : first + chunk_crops]
        digest = xxh3_64(run.box.astype("<u2").tobytes())
        digest.update(run.flip.astype(np.uint8).tobytes())
        digest.update(run.share.astype("<u2").tobytes())
        digest.update(run.hole.astype("<u2").tobytes())
        digest.update(content[:, first : first + chunk_crops].astype("<u8").tobytes())
        hashes.append(digest.intdigest())
    return np.array(hashes, np.uint64)


def draw_shares(
    policy: MixPolicy, seed: int, numbers: Places, crops: Places
) -> tuple[Shares, Holes]:
    """Draw how crops, int64 [m], of images of `numbers`, int64 [n], are mixed: u16 [n, m], u16 [n, m, 4].

    A crop's words 12 and 13 decide, what would be attempts 11 and 12 in `fkd.views.draw`. Of the first
    one, the top 24 bits say whether it is mixed, the next bit whether by cutmix where a policy has both,
    and the low 32 bits which λ · 256 it gets, rounded: λ is of Beta(α, α). The hole of cutmix has 1 - λ
    of the area and the view's aspect, and lies wholly inside; 16 bits each of the second word say where.
    """
    keys, steps = image_keys(seed, numbers), crops.astype(np.uint64) * np.uint64(16)
    first, second = (mix(keys[:, None] + (steps + place) * GAMMA) for place in _WORDS)
    share = np.full(first.shape, WHOLE, np.uint16)
    hole = np.zeros((*first.shape, 4), np.uint16)
    taken = (first >> np.uint64(40)) < np.uint64(round(policy.share * _FRACTION))
    cut = ((first >> np.uint64(39)) & np.uint64(1)).astype(np.bool_)
    cut = cut if policy.both else np.full(cut.shape, policy.cutmix > 0)
    level = (first & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    if policy.mixup:
        rows = taken & ~cut
        share[rows] = _levels(policy.mixup).searchsorted(level[rows], side="right")
    if policy.cutmix:
        rows = taken & cut
        side = _hole_sides()[_levels(policy.cutmix).searchsorted(level[rows], side="right")]
        room = np.uint64(SIDE + 1) - side
        top, left = second[rows] >> np.uint64(48), (second[rows] >> np.uint64(32)) & np.uint64(SIDE)
        corner = [(place * room) >> np.uint64(16) for place in (top, left)]
        hole[rows] = np.stack([*corner, side, side], axis=-1)
    return share, hole


@lru_cache(8)
def _levels(alpha: float) -> NDArray[np.uint32]:
    """Return the first of 2^32 levels that get λ = 1 / 256, 2 / 256, … 1, u32 [256].

    They are P(λ · 256 < k - 1/2) in parts of 2^32, rounded, with λ of Beta(α, α). Libraries differ in
    the last digits of such numbers; 100 digits leave no doubt.
    """
    with localcontext() as context:
        context.prec = 100
        half = _below(Decimal(alpha), Decimal("0.5"))
        low = [_below(Decimal(alpha), Decimal(2 * k - 1) / 512) / half / 2 for k in range(1, 129)]
        shares = [*low, *(1 - share for share in reversed(low))]
        return np.array([min(2**32 - 1, round(share * 2**32)) for share in shares], np.uint32)


def _below(alpha: Decimal, x: Decimal) -> Decimal:
    """Return the integral of t^(α - 1) (1 - t)^(α - 1) from 0 to x, at most 1/2, by its series."""
    total, factor, n = Decimal(0), Decimal(1), 0
    while abs(factor) > Decimal("1e-60") or n < 2 * alpha:
        total += factor / (alpha + n)
        n += 1
        factor *= x * (n - alpha) / n
    return total * (alpha * x.ln()).exp()


@lru_cache(1)
def _hole_sides() -> NDArray[np.uint64]:
    """Return the side of a hole of 1 - k / 256 of the area, k = 0 … 256, in 65,535th parts, u64 [257]."""
    area = (WHOLE - np.arange(WHOLE + 1)) / WHOLE
    sides: NDArray[np.uint64] = np.rint(np.sqrt(area) * SIDE).astype(np.uint64)
    return sides


def hole_pixels(hole: Holes, size: Size) -> NDArray[np.int64]:
    """Return holes u16 […, 4] in views of a size as first row, end row, first column, end column: int64.

    An edge at e of 65,535 parts is at pixel (e · side + 32,767) div 65,535.
    """
    height, width = sides_of(size)
    top, left, tall, wide = (hole[..., n].astype(np.int64) for n in range(4))
    edges = (top, height), (top + tall, height), (left, width), (left + wide, width)
    return np.stack([edge_pixel(edge, side) for edge, side in edges], axis=-1)


def edge_pixel(edge: NDArray[np.int64], side: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Return the pixel at which an edge of a hole lies on a side of so many pixels."""
    return (edge * side + SIDE // 2) // SIDE


def hole_of(pixels: NDArray[np.int64], size: Size) -> Holes:
    """Return the hole whose pixels in views of a size are rows and columns as `hole_pixels` has them."""
    height, width = sides_of(size)
    edges = [
        (pixels[..., n] * SIDE * 2 + side) // (2 * side)
        for n, side in enumerate((height, height, width, width))
    ]
    top, bottom, left, right = edges
    return np.stack([top, left, bottom - top, right - left], axis=-1).astype(np.uint16)
