"""Images are decoded in order, ahead of the rendering, and their views are drawn."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import ViewPolicy
from fkd.errors import DecodeError
from fkd.images import ImageList, content_hash, decode, inspect
from fkd.machine import page_locked
from fkd.views import SAMPLER, SAMPLERS, Boxes, Flips, RenderPool


@dataclass(frozen=True)
class DrawnImage:
    """An image of `size` (height, width) with views of it, or the `error` that decoding it gave.

    They are the views from `first_crop` on that are drawn for the image's `number`. It has no pixels:
    with few views, those of all images of a batch would fill the memory.
    """

    image_index: int
    number: int
    first_crop: int
    boxes: Boxes
    flips: Flips
    size: tuple[int, int] = (0, 0)
    content_hash: int = 0
    error: DecodeError | None = None


class Views(Protocol):
    """The views of images that teachers see: M of each, a run of `crops`."""

    @property
    def crops(self) -> range:
        """Which crops of an image they are."""
        ...

    def number(self, image_index: int) -> int:
        """Return the number by which the views of an image are drawn."""
        ...

    def of(self, image_index: int, size: tuple[int, int]) -> tuple[Boxes, Flips]:
        """Return the views of an image of `size` (height, width): boxes u16 [M, 4], flips bool [M]."""
        ...


@dataclass(frozen=True)
class WantedViews:
    """Which views are drawn of images: `crops`, a run of M.

    `numbers` int64 [N] are those by which the views of images are drawn; None are their indices.
    """

    policy: ViewPolicy
    crops: range
    numbers: NDArray[np.int64] | None = None
    sampler: str = SAMPLER

    def number(self, image_index: int) -> int:
        """Return the number by which the views of an image are drawn."""
        return image_index if self.numbers is None else int(self.numbers[image_index])

    def of(self, image_index: int, size: tuple[int, int]) -> tuple[Boxes, Flips]:
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
) -> Iterator[tuple[DrawnImage, Tensor | None]]:
    """Decode images in order, ahead of the rendering by one for each worker.

    Pixels are uint8 [3, H, W] for threads, and [H × W, 3] for a device.
    """

    def draw(image_index: int) -> tuple[DrawnImage, Tensor | None]:
        number, first = views.number(image_index), views.crops.start
        try:
            name, encoded = images.name(image_index), images.read(image_index)
            inspect(name, encoded)
            pixels = decode(name, encoded)
        except DecodeError as error:
            count = len(views.crops)
            boxes, flips = np.zeros((count, 4), np.uint16), np.zeros(count, np.bool_)
            return DrawnImage(image_index, number, first, boxes, flips, error=error), None
        height, width = pixels.shape[-2:]
        boxes, flips = views.of(image_index, (height, width))
        digest = content_hash(encoded)
        drawn = DrawnImage(image_index, number, first, boxes, flips, (height, width), digest)
        if pool.on_device:
            pixels = page_locked(pixels.permute(1, 2, 0).reshape(-1, 3), pool.device)
        return drawn, pixels

    queue: deque[Future[tuple[DrawnImage, Tensor | None]]] = deque()
    for image_index in indices:
        queue.append(pool.submit(draw, image_index))
        if len(queue) > pool.workers:
            yield queue.popleft().result()
    while queue:
        yield queue.popleft().result()
