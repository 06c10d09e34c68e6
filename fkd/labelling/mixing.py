"""Views that are mixed: the partners of an image are decoded ahead, and their views are blended in.

An image keeps its partner for a run of its crops. One partner after another is decoded, so that the
memory holds a few images, however many an image is mixed with.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import Interpolation, ViewPolicy
from fkd.errors import DecodeError
from fkd.images import ImageList
from fkd.labelling.drawing import (
    DrawnImage,
    ImageSize,
    Run,
    Views,
    decoded,
    draw_images,
    given_to,
)
from fkd.machine import upload
from fkd.truth import Truth
from fkd.views import (
    Boxes,
    Flips,
    Mixes,
    RenderPool,
    blend_views,
    empty_views,
    render_views,
    tone_views,
)


@dataclass(frozen=True)
class OwnViews:
    """Views of one image: `boxes` u16 [n, 4], `flips` bool [n], and what they are drawn by.

    They are the `crops`, int64 [n], of the image of this `number`.
    """

    boxes: Boxes
    flips: Flips
    number: int
    crops: NDArray[np.int64]


@dataclass(frozen=True)
class Partner:
    """An image that m crops of another one are mixed with, as `mixes` [m] say; None has no pixels.

    `pixels` are uint8 [3, H, W] for threads, and [H × W, 3] for a device. `number` is what its views are
    drawn by.
    """

    pixels: Tensor | None
    size: ImageSize
    content_hash: int
    mixes: Mixes
    number: int = 0


@dataclass
class DrawnRun:
    """A run of `crops` of an image, and the partner that they are mixed with, if any.

    An image that cannot be decoded has a run without crops.
    """

    image: DrawnImage
    pixels: Tensor | None
    crops: range
    partner: "Future[Partner] | None" = None
    _there: Partner | None = None

    def views(self, some: slice) -> OwnViews:
        """Return some of its n views."""
        first = self.crops.start - self.image.first_crop
        crops = slice(first + some.start, first + some.stop)
        numbers = np.array(self.crops[some])
        return OwnViews(
            self.image.boxes[crops], self.image.flips[crops], self.image.number, numbers
        )

    def on_device(self, pool: RenderPool) -> Partner | None:
        """Return its partner, with the pixels on the pool's device."""
        if self.partner is None:
            return None
        if self._there is None:
            other = self.partner.result()
            pixels = None if other.pixels is None else upload(other.pixels, pool.device)
            self._there = replace(other, pixels=pixels)
        return self._there


def draw_runs(
    pool: RenderPool,
    images: ImageList,
    indices: Iterable[int],
    views: Views,
    truth: Truth | None = None,
) -> Iterator[DrawnRun]:
    """Decode images in order, ahead of the rendering, and their partners one for each worker ahead.

    With `truth`, the masks or texts of the images are looked at too.
    """
    runs = _runs(pool, images, draw_images(pool, images, indices, views, truth), views)
    queue = deque(islice(runs, pool.workers if views.mixed else 0))
    for run in runs:
        queue.append(run)
        yield queue.popleft()
    while queue:
        yield queue.popleft()


def _runs(
    pool: RenderPool,
    images: ImageList,
    drawn: Iterator[tuple[DrawnImage, Tensor | None]],
    views: Views,
) -> Iterator[DrawnRun]:
    for image, pixels in drawn:
        if pixels is None:
            yield DrawnRun(image, None, range(0))
            continue
        for run in views.runs(image.image_index):
            partner = None
            if run.partner is not None:
                partner = pool.submit(_decode, pool, images, views, run)
            yield DrawnRun(image, pixels, run.crops, partner)


def _decode(pool: RenderPool, images: ImageList, views: Views, run: Run) -> Partner:
    """Decode the partner of a run; with one that cannot be decoded, nothing is mixed."""
    assert run.partner is not None
    assert run.mixes is not None
    try:
        pixels, size, digest = decoded(images, run.partner)
    except DecodeError as error:
        views.meet(run.partner, (0, 0), 0, error)
        return Partner(None, (0, 0), 0, run.mixes((0, 0)))
    views.meet(run.partner, size, digest, None)
    number = views.number(run.partner)
    return Partner(given_to(pool, pixels), size, digest, run.mixes(size), number)


@dataclass(frozen=True)
class MixedRows:
    """How rows of a batch are mixed: `mixes` [B], and the partners' content hashes, `content` u64 [B]."""

    mixes: Mixes
    content: NDArray[np.uint64]

    @classmethod
    def none(cls, count: int) -> "MixedRows":
        """Return those of `count` rows of which none is mixed yet."""
        return cls(Mixes.none(np.zeros(count, np.int64)), np.zeros(count, np.uint64))

    def put(self, rows: slice, mixes: Mixes, content_hash: int) -> None:
        """Say how some rows are mixed, with views of one image."""
        self.mixes[rows], self.content[rows] = mixes, content_hash


def render_run(
    policy: ViewPolicy,
    pixels: Tensor,
    own: OwnViews,
    outs: Sequence[tuple[Tensor, Interpolation]],
    mixing: "tuple[Future[Partner], slice, tuple[MixedRows, slice]] | None",
) -> None:
    """Render n views of an image to each of `outs`, uint8 [n, 3, h, w], in their tone.

    `mixing` has the partner whose views are blended in, which crops of the run these are, and the place
    that learns how they are mixed.
    """
    for out, interpolation in outs:
        render_views(pixels, own.boxes, own.flips, out, interpolation, policy.fit)
        tone_views(policy, out, np.full(len(out), own.number), own.crops)
    if mixing is None:
        return
    partner, some, (rows, where) = mixing
    other = partner.result()
    mixes = other.mixes[some]
    rows.put(where, mixes, other.content_hash)
    mixed = np.flatnonzero(mixes.mixed)
    if other.pixels is None or not len(mixed):
        return
    for out, interpolation in outs:
        theirs = mixes[mixed]
        others = empty_views(len(mixed), (out.shape[-2], out.shape[-1]))
        render_views(other.pixels, theirs.box, theirs.flip, others, interpolation)
        tone_views(policy, others, np.full(len(mixed), other.number), own.crops[mixed])
        blend_views([out[row] for row in mixed.tolist()], list(others), theirs)
