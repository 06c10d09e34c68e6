"""Stage 1's input: all M views of every image for the teacher, in batches filled across images."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from fkd.config import ViewFormat, ViewPolicy
from fkd.errors import DecodeError
from fkd.images import ImageList, content_hash, decode, inspect
from fkd.machine import page_locked, upload
from fkd.views import (
    Boxes,
    Flips,
    RenderedBatch,
    RenderPool,
    ahead,
    render_views,
    render_views_on_device,
    sample_views,
)

# Views of one image that a worker renders in one go when an image fills many rows of a batch; a device
# takes as many as the batch has room for.
_STRIP = 16


@dataclass(frozen=True)
class DrawnImage:
    """An image of `size` (height, width) with its M views, or the `error` that decoding it gave.

    It outlives the pixels: of a small M and large photos those would fill the memory.
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


@dataclass
class TeacherBatch(RenderedBatch):
    """Views for the teachers: whose they are, and the images that begin in this batch.

    `views` are uint8 [B, 3, S, S], once for each of the `view_formats`.
    """

    views: list[Tensor]
    strips: list[Strip] = field(default_factory=list)
    begun: list[DrawnImage] = field(default_factory=list)

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
) -> Iterator[TeacherBatch]:
    """Yield stage 1's input: all M views of the images, in order, in batches filled across images."""
    drawn = _draw(pool, images, indices, policy, num_crops)
    return ahead(_fill(pool, drawn, num_crops, batch_size, view_formats))


def _draw(
    pool: RenderPool,
    images: ImageList,
    indices: Iterable[int],
    policy: ViewPolicy,
    num_crops: int,
) -> Iterator[tuple[DrawnImage, Tensor | None]]:
    """Decode images in order, uint8 [3, H, W], one per worker ahead of the one that is rendered."""

    def draw(image_index: int) -> tuple[DrawnImage, Tensor | None]:
        path = images.file(image_index)
        try:
            encoded = inspect(path)
            pixels = decode(path, encoded)
        except DecodeError as error:
            boxes, flips = np.zeros((num_crops, 4), np.uint16), np.zeros(num_crops, np.bool_)
            return DrawnImage(image_index, boxes, flips, error=error), None
        height, width = pixels.shape[-2:]
        boxes, flips = sample_views(policy, image_index, num_crops, height, width)
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
) -> Iterator[TeacherBatch]:
    def empty() -> TeacherBatch:
        on_device = pool.on_device
        views = [
            pool.empty_views(batch_size, format.size, on_device=on_device)
            for format in view_formats
        ]
        return TeacherBatch(views)

    longest = batch_size if pool.on_device else _STRIP
    batch, row = empty(), 0
    for image, pixels in drawn:
        batch.begun.append(image)
        crop = 0
        if pixels is not None and pool.on_device:
            pixels = upload(pixels, pool.device)
        while pixels is not None and crop < num_crops:
            count = min(longest, num_crops - crop, batch_size - row)
            crops, rows = slice(crop, crop + count), slice(row, row + count)
            batch.strips.append(Strip(image.image_index, crop, row, count))
            for format, views in zip(view_formats, batch.views, strict=True):
                drawing = pixels, image.boxes[crops], image.flips[crops], views[rows]
                if pool.on_device:
                    render_views_on_device(*drawing, format.interpolation)
                else:
                    todo = pool.submit(render_views, *drawing, format.interpolation)
                    batch.pending.append(todo)
            row, crop = row + count, crop + count
            if row == batch_size:
                yield batch
                batch, row = empty(), 0
    if batch.begun or batch.strips:
        yield batch
