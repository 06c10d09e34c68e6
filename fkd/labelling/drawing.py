"""Images are decoded in order, ahead of the rendering, and their views are drawn."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import ViewPolicy
from fkd.errors import DecodeError
from fkd.images import ImageList, content_hash, decode, inspect
from fkd.machine import page_locked
from fkd.truth import Truth
from fkd.views import (
    SAMPLER,
    SAMPLERS,
    Boxes,
    Flips,
    Mixes,
    Partners,
    RenderPool,
    draw_mixes,
    draw_shares,
    partners,
)

ImageSize = tuple[int, int]  # height, width


@dataclass(frozen=True)
class DrawnImage:
    """An image of `size` (height, width) with views of it, or the `error` that decoding it gave.

    They are the views from `first_crop` on that are drawn for the image's `number`. `truth_hash` is
    that of its mask or text, 0 where these are not looked at. It has no pixels:
    with few views, those of all images of a batch would fill the memory.
    """

    image_index: int
    number: int
    first_crop: int
    boxes: Boxes
    flips: Flips
    size: ImageSize = (0, 0)
    content_hash: int = 0
    error: DecodeError | None = None
    truth_hash: int = 0


@dataclass(frozen=True)
class Run:
    """Crops of an image, side by side, that are mixed with views of one `partner`, or not at all.

    `mixes` says how, [m], where the partner is of a size, and (0, 0) where it cannot be decoded.
    """

    crops: range
    partner: int | None = None
    mixes: Callable[[ImageSize], Mixes] | None = None


class Views(Protocol):
    """The views of images that teachers see: M of each, a run of `crops`."""

    @property
    def policy(self) -> ViewPolicy:
        """The policy that they are drawn by."""
        ...

    @property
    def mixed(self) -> bool:
        """Whether views are mixed with those of other images."""
        ...

    def runs(self, image_index: int) -> list[Run]:
        """Return the crops of an image in order, by what they are mixed with."""
        ...

    def meet(
        self, image_index: int, size: ImageSize, digest: int, error: DecodeError | None
    ) -> None:
        """Look at an image that is decoded as a partner; raises `ImagesError` for a changed one."""
        ...

    @property
    def crops(self) -> range:
        """Which crops of an image they are."""
        ...

    def number(self, image_index: int) -> int:
        """Return the number by which the views of an image are drawn."""
        ...

    def of(self, image_index: int, size: ImageSize) -> tuple[Boxes, Flips]:
        """Return the views of an image of `size` (height, width): boxes u16 [M, 4], flips bool [M]."""
        ...


@dataclass(frozen=True)
class WantedViews:
    """Which views are drawn of images: `crops`, a run of M.

    `numbers` int64 [N] are those by which the views of images are drawn; None are their indices. `paired`
    are the images among which partners are found; `seen_again` is shown each that is decoded as one.
    """

    policy: ViewPolicy
    crops: range
    numbers: NDArray[np.int64] | None = None
    sampler: str = SAMPLER
    paired: range = range(0)
    seen_again: Callable[[DrawnImage], None] | None = None

    @property
    def mixed(self) -> bool:
        """Whether views are mixed with those of other images."""
        return self.policy.mix.mixes

    def runs(self, image_index: int) -> list[Run]:
        """Return the crops of an image in order, by what they are mixed with."""
        if not self.mixed:
            return [Run(self.crops)]
        policy, crops = self.policy, np.array(self.crops)
        groups = crops // policy.mix.period
        own = np.array([image_index - self.paired.start])
        other = partners(policy.seed, groups, len(self.paired), own) + self.paired.start
        number = np.array([self.number(image_index)])
        drawn = Mixes.none(other)
        drawn.share[:], drawn.hole[:] = draw_shares(policy.mix, policy.seed, number, crops)
        edges = [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(crops)]
        found = []
        for first, stop in pairwise(edges):
            run, partner = self.crops[first:stop], int(other[first])
            mixed = partner != image_index and drawn.mixed[first:stop].any()
            mixes = partial(self._mixes, image_index, run, partner)
            found.append(Run(run, partner, mixes) if mixed else Run(run))
        return found

    def _mixes(self, image_index: int, crops: range, partner: int, size: ImageSize) -> Mixes:
        """Draw how m crops of an image are mixed with those of a partner of `size`: [m]."""
        shape = 1, len(crops)
        sizes = np.broadcast_to(np.array(size, np.uint16), (*shape, 2))
        found = Partners(np.full(shape, partner), np.full(shape, self.number(partner)), sizes)
        image, number = np.array([image_index]), np.array([self.number(image_index)])
        return draw_mixes(self.policy, self.sampler, image, number, np.array(crops), found)[0]

    def meet(
        self, image_index: int, size: ImageSize, digest: int, error: DecodeError | None
    ) -> None:
        """Look at an image that is decoded as a partner; raises `ImagesError` for a changed one."""
        if self.seen_again is not None:
            none = np.zeros((0, 4), np.uint16), np.zeros(0, np.bool_)
            number = self.number(image_index)
            self.seen_again(DrawnImage(image_index, number, 0, *none, size, digest, error))

    def number(self, image_index: int) -> int:
        """Return the number by which the views of an image are drawn."""
        return image_index if self.numbers is None else int(self.numbers[image_index])

    def of(self, image_index: int, size: ImageSize) -> tuple[Boxes, Flips]:
        """Draw the views of an image of `size` (height, width): boxes u16 [M, 4], flips bool [M]."""
        numbers, sizes = np.array([self.number(image_index)]), np.array([size], np.uint16)
        boxes, flips = SAMPLERS[self.sampler].draw(
            self.policy, numbers, np.array(self.crops), sizes
        )
        return boxes[0], flips[0]


def draw_images(
    pool: RenderPool,
    images: ImageList,
    indices: Iterable[int],
    views: Views,
    truth: Truth | None = None,
) -> Iterator[tuple[DrawnImage, Tensor | None]]:
    """Decode images in order, ahead of the rendering by one for each worker.

    Pixels are uint8 [3, H, W] for threads, and [H × W, 3] for a device. An image of which `truth` has no
    usable mask cannot be used.
    """

    def draw(image_index: int) -> tuple[DrawnImage, Tensor | None]:
        number, first = views.number(image_index), views.crops.start
        try:
            pixels, size, digest = decoded(images, image_index)
            truth_digest = 0 if truth is None else truth.usable_hash(image_index, size)
        except DecodeError as error:
            count = len(views.crops)
            boxes, flips = np.zeros((count, 4), np.uint16), np.zeros(count, np.bool_)
            return DrawnImage(image_index, number, first, boxes, flips, error=error), None
        boxes, flips = views.of(image_index, size)
        drawn = DrawnImage(
            image_index, number, first, boxes, flips, size, digest, truth_hash=truth_digest
        )
        return drawn, given_to(pool, pixels)

    queue: deque[Future[tuple[DrawnImage, Tensor | None]]] = deque()
    for image_index in indices:
        queue.append(pool.submit(draw, image_index))
        if len(queue) > pool.workers:
            yield queue.popleft().result()
    while queue:
        yield queue.popleft().result()


def decoded(images: ImageList, image_index: int) -> tuple[Tensor, ImageSize, int]:
    """Return an image's pixels, uint8 [3, H, W], its size and its content hash.

    Raises `DecodeError`.
    """
    name, encoded = images.name(image_index), images.read(image_index)
    inspect(name, encoded)
    pixels = decode(name, encoded)
    return pixels, (pixels.shape[-2], pixels.shape[-1]), content_hash(encoded)


def given_to(pool: RenderPool, pixels: Tensor) -> Tensor:
    """Return pixels, uint8 [3, H, W], as they are rendered from: for a device [H × W, 3]."""
    if not pool.on_device:
        return pixels
    return page_locked(pixels.permute(1, 2, 0).reshape(-1, 3), pool.device)
