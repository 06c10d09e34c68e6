"""Stage 1's input: all M views of every image for the teacher, in batches filled across images."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fkd.config import LabelConfig, ViewFormat, ViewPolicy
from fkd.errors import DecodeError
from fkd.images import ImageList, content_hash, decode, inspect
from fkd.machine import page_locked, upload
from fkd.views import (
    SAMPLER,
    Boxes,
    Flips,
    Pending,
    RenderPool,
    ahead,
    render_views,
    render_views_on_device,
    sample_views,
)

# Views of one image that a worker renders in one go when an image fills many rows of a batch; a device
# takes as many as the batch has room for.
_STRIP = 16

# A GPU wants many views at a time. On a CPU 32 are enough, and more cost time and memory: an activation
# of 256 views may be larger than the blocks that `machine/memory` makes the allocator keep, which are up
# to 1 GiB. Then the system takes it back after use, and clears each page again for the next one. Measured
# on two cores with MobileNetV2 at 224 px: 42.0 views/s, 14.7 s of system time, 3.17 M page faults and a
# peak of 6.3 GiB in batches of 256; 48.6 views/s, 1.0 s, 0.14 M and 1.28 GiB in batches of 32.
_AT_A_TIME = {"cuda": 256}
_AT_A_TIME_ELSEWHERE = 32


def views_at_a_time(config: LabelConfig, device: torch.device) -> int:
    """Return how many views a batch for the teachers has."""
    return config.batch_size or _AT_A_TIME.get(device.type, _AT_A_TIME_ELSEWHERE)


@dataclass(frozen=True)
class DrawnImage:
    """An image of `size` (height, width) with its M views, or the `error` that decoding it gave.

    It has no pixels: with a small M, those of all images of a batch would fill the memory.
    """

    image_index: int
    boxes: Boxes
    flips: Flips
    size: tuple[int, int] = (0, 0)
    content_hash: int = 0
    error: DecodeError | None = None


@dataclass(frozen=True)
class Strip:
    """Rows of a batch: `count` views of one image from `first_crop` on, at `first_row`."""

    image_index: int
    first_crop: int
    first_row: int
    count: int


@dataclass(frozen=True)
class TeacherBatch:
    """Views for the teachers, the strips that say whose they are, and the images that begin here.

    `views` are uint8 [B, 3, S, S], once for each of the `view_formats`.
    """

    views: Sequence[Tensor]
    strips: Sequence[Strip]
    begun: Sequence[DrawnImage]

    @property
    def num_views(self) -> int:
        """Rows that are filled; only the last batch may have others."""
        return self.strips[-1].first_row + self.strips[-1].count if self.strips else 0


def teacher_batches(
    pool: RenderPool,
    images: ImageList,
    indices: Iterable[int],
    policy: ViewPolicy,
    num_crops: int,
    batch_size: int,
    view_formats: Sequence[ViewFormat],
    sampler: str = SAMPLER,
) -> Iterator[TeacherBatch]:
    """Yield stage 1's input: all M views of the images, in order, in batches filled across images."""
    drawn = _draw(pool, images, indices, policy, num_crops, sampler)
    return ahead(_fill(pool, drawn, num_crops, batch_size, view_formats))


def _draw(
    pool: RenderPool,
    images: ImageList,
    indices: Iterable[int],
    policy: ViewPolicy,
    num_crops: int,
    sampler: str,
) -> Iterator[tuple[DrawnImage, Tensor | None]]:
    """Decode images in order, uint8 [3, H, W], ahead of the rendering by one for each worker."""

    def draw(image_index: int) -> tuple[DrawnImage, Tensor | None]:
        try:
            name, encoded = images.name(image_index), images.read(image_index)
            inspect(name, encoded)
            pixels = decode(name, encoded)
        except DecodeError as error:
            boxes, flips = np.zeros((num_crops, 4), np.uint16), np.zeros(num_crops, np.bool_)
            return DrawnImage(image_index, boxes, flips, error=error), None
        height, width = pixels.shape[-2:]
        boxes, flips = sample_views(policy, image_index, num_crops, height, width, sampler)
        drawn = DrawnImage(image_index, boxes, flips, (height, width), content_hash(encoded))
        if pool.on_device:
            pixels = page_locked(pixels, pool.device)
        return drawn, pixels

    queue: deque[Future[tuple[DrawnImage, Tensor | None]]] = deque()
    for image_index in indices:
        queue.append(pool.submit(draw, image_index))
        if len(queue) > pool.workers:
            yield queue.popleft().result()
    while queue:
        yield queue.popleft().result()


def _fill(
    pool: RenderPool,
    drawn: Iterator[tuple[DrawnImage, Tensor | None]],
    num_crops: int,
    batch_size: int,
    view_formats: Sequence[ViewFormat],
) -> Iterator[Pending[TeacherBatch]]:
    """Put the views of images, in order, into batches; an image may begin in one and end in the next."""
    batch = _OpenBatch(pool, batch_size, view_formats)
    for image, pixels in drawn:
        batch.begun.append(image)
        if pixels is None:
            continue
        pixels = upload(pixels, pool.device) if pool.on_device else pixels
        crop = 0
        while crop < num_crops:
            crop += batch.add(image, crop, pixels)
            if batch.full:
                yield batch.close()
                batch = _OpenBatch(pool, batch_size, view_formats)
    if batch.begun or batch.strips:
        yield batch.close()


class _OpenBatch:
    """A batch that still has room: its views are being rendered while more are added."""

    def __init__(
        self, pool: RenderPool, batch_size: int, view_formats: Sequence[ViewFormat]
    ) -> None:
        self.strips: list[Strip] = []
        self.begun: list[DrawnImage] = []
        self._pool, self._batch_size, self._view_formats = pool, batch_size, view_formats
        self._longest = batch_size if pool.on_device else _STRIP
        self._num_views = 0
        self._futures: list[Future[None]] = []
        self._views = [
            pool.empty_views(batch_size, format.size, on_device=pool.on_device)
            for format in view_formats
        ]

    @property
    def full(self) -> bool:
        return self._num_views == self._batch_size

    def add(self, image: DrawnImage, first_crop: int, pixels: Tensor) -> int:
        """Render a strip of an image's views from `first_crop` on; return how many there was room for."""
        row = self._num_views
        count = min(self._longest, len(image.boxes) - first_crop, self._batch_size - row)
        crops, rows = slice(first_crop, first_crop + count), slice(row, row + count)
        self.strips.append(Strip(image.image_index, first_crop, row, count))
        for format, views in zip(self._view_formats, self._views, strict=True):
            rendering = pixels, image.boxes[crops], image.flips[crops], views[rows]
            if self._pool.on_device:
                render_views_on_device(*rendering, format.interpolation)
            else:
                future = self._pool.submit(render_views, *rendering, format.interpolation)
                self._futures.append(future)
        self._num_views += count
        return count

    def close(self) -> Pending[TeacherBatch]:
        """Add no more: the batch is finished when its views are rendered."""
        batch = TeacherBatch(self._views, self.strips, self.begun)
        return Pending(self._futures, lambda: batch)
