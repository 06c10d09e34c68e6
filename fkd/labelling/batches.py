"""Stage 1's input: all M views of every image for the teacher, in batches filled across images."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fkd.config import LabelConfig, ViewFormat
from fkd.images import ImageList
from fkd.labelling.drawing import DrawnImage, Views, draw_images
from fkd.machine import upload
from fkd.views import (
    Boxes,
    CropTable,
    Flips,
    Pending,
    RenderPool,
    ahead,
    render_table,
    render_views,
)

# Views of one image that a worker renders in one go when an image fills many rows of a batch; a device
# takes as many as the batch has room for.
_STRIP = 16

# Bytes of decoded images that wait on a device for the batch to be full. With few crops of large photos,
# a batch is rendered in several goes.
_WAITING_BYTES = 512 * 2**20

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
class Strip:
    """Rows of a batch: `count` views of one image from `first_crop` on, at `first_row`.

    `number` is that of the image, by which its views are drawn.
    """

    image_index: int
    number: int
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
    wanted: Views,
    batch_size: int,
    view_formats: Sequence[ViewFormat],
) -> Iterator[TeacherBatch]:
    """Yield stage 1's input: the wanted views of images, in order, in batches filled across images."""
    drawn = draw_images(pool, images, indices, wanted)
    return ahead(_fill(pool, drawn, len(wanted.crops), batch_size, view_formats))


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
    """A batch that still has room.

    Threads render its views while more are added; a device renders them all at once when it is full.
    """

    def __init__(
        self, pool: RenderPool, batch_size: int, view_formats: Sequence[ViewFormat]
    ) -> None:
        self.strips: list[Strip] = []
        self.begun: list[DrawnImage] = []
        self._pool, self._batch_size, self._view_formats = pool, batch_size, view_formats
        self._longest = batch_size if pool.on_device else _STRIP
        self._num_views = 0
        self._futures: list[Future[None]] = []
        self._waiting: list[_Waiting] = []
        self._views = [
            pool.empty_views(batch_size, format.size, on_device=pool.on_device)
            for format in view_formats
        ]

    @property
    def full(self) -> bool:
        return self._num_views == self._batch_size

    def add(self, image: DrawnImage, first_crop: int, pixels: Tensor) -> int:
        """Take a strip of an image's views from `first_crop` of them on; return how many had room."""
        row = self._num_views
        count = min(self._longest, len(image.boxes) - first_crop, self._batch_size - row)
        crops = slice(first_crop, first_crop + count)
        crop = image.first_crop + first_crop
        self.strips.append(Strip(image.image_index, image.number, crop, row, count))
        self._num_views += count
        boxes, flips = image.boxes[crops], image.flips[crops]
        if self._pool.on_device:
            self._waiting.append(_Waiting(pixels, image.size, boxes, flips))
            if sum(strip.pixels.nbytes for strip in self._waiting) > _WAITING_BYTES:
                self._render_on_device()
            return count
        for format, views in zip(self._view_formats, self._views, strict=True):
            out = views[row : row + count]
            rendering = pixels, boxes, flips, out, format.interpolation
            self._futures.append(self._pool.submit(render_views, *rendering))
        return count

    def _render_on_device(self) -> None:
        """Render the views that wait, the last ones of those that were added."""
        if not self._waiting:
            return
        counts = [len(strip.boxes) for strip in self._waiting]
        pixels = [strip.pixels for strip in self._waiting]
        table = CropTable.of_images(
            np.array([strip.size for strip in self._waiting], np.int64),
            np.arange(len(counts)).repeat(counts),
            np.concatenate([strip.boxes for strip in self._waiting]),
            np.concatenate([strip.flips for strip in self._waiting]),
        )
        packed = torch.cat(pixels) if len(pixels) > 1 else pixels[0]
        rows = slice(self._num_views - sum(counts), self._num_views)
        for format, views in zip(self._view_formats, self._views, strict=True):
            render_table(packed, table, format.size, format.interpolation, views[rows])
        self._waiting.clear()

    def close(self) -> Pending[TeacherBatch]:
        """Add no more: the batch is finished when its views are rendered."""
        self._render_on_device()
        batch = TeacherBatch(self._views, self.strips, self.begun)
        return Pending(self._futures, lambda: batch)


@dataclass(frozen=True)
class _Waiting:
    """A strip that a device is to render: pixels uint8 [H × W, 3] there, `size` is (H, W)."""

    pixels: Tensor
    size: tuple[int, int]
    boxes: Boxes
    flips: Flips
