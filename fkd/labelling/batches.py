"""Stage 1's input: all M views of every image for the teacher, in batches filled across images."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import torch
from torch import Tensor

from fkd.config import LabelConfig, ViewFormat
from fkd.images import ImageList
from fkd.labelling.drawing import DrawnImage, Views
from fkd.labelling.mixing import DrawnRun, MixedRows, draw_runs, render_run
from fkd.labelling.waiting import Waiting
from fkd.machine import upload
from fkd.truth import Truth
from fkd.views import Pending, RenderPool, ahead

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

    `views` are uint8 [B, 3, S, S], once for each of the `view_formats`. `mixed` says how they are mixed,
    where that is done.
    """

    views: Sequence[Tensor]
    strips: Sequence[Strip]
    begun: Sequence[DrawnImage]
    mixed: MixedRows | None = None

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
    truth: Truth | None = None,
) -> Iterator[TeacherBatch]:
    """Yield stage 1's input: the wanted views of images, in order, in batches filled across images.

    With `truth`, an image without a usable mask has no views.
    """
    runs = draw_runs(pool, images, indices, wanted, truth)
    return ahead(_fill(pool, runs, wanted, batch_size, view_formats))


def _fill(
    pool: RenderPool,
    runs: Iterator[DrawnRun],
    wanted: Views,
    batch_size: int,
    view_formats: Sequence[ViewFormat],
) -> Iterator[Pending[TeacherBatch]]:
    """Put the views of images, in order, into batches; an image may begin in one and end in the next."""
    batch = _OpenBatch(pool, batch_size, view_formats, wanted)
    begun, pixels = -1, None
    for run in runs:
        if run.image.image_index != begun:
            batch.begun.append(run.image)
            begun, pixels = run.image.image_index, run.pixels
            if pixels is not None and pool.on_device:
                pixels = upload(pixels, pool.device)
        if pixels is None:
            continue
        first = 0
        while first < len(run.crops):
            first += batch.add(run, first, pixels)
            if batch.full:
                yield batch.close()
                batch = _OpenBatch(pool, batch_size, view_formats, wanted)
    if batch.begun or batch.strips:
        yield batch.close()


class _OpenBatch:
    """A batch that still has room.

    Threads render its views while more are added; a device renders them all at once when it is full.
    """

    def __init__(
        self, pool: RenderPool, batch_size: int, view_formats: Sequence[ViewFormat], wanted: Views
    ) -> None:
        self.strips: list[Strip] = []
        self.begun: list[DrawnImage] = []
        self._pool, self._batch_size, self._view_formats = pool, batch_size, view_formats
        self._longest = batch_size if pool.on_device else _STRIP
        self._num_views = 0
        self._futures: list[Future[None]] = []
        self._policy = wanted.policy
        self._waiting = Waiting(wanted.policy)
        self._mixed = MixedRows.none(batch_size) if wanted.mixed else None
        self._views = [
            pool.empty_views(batch_size, format.size, on_device=pool.on_device)
            for format in view_formats
        ]

    @property
    def full(self) -> bool:
        return self._num_views == self._batch_size

    def add(self, run: DrawnRun, first: int, pixels: Tensor) -> int:
        """Take a strip of a run's views from `first` of them on; return how many had room."""
        image, row = run.image, self._num_views
        count = min(self._longest, len(run.crops) - first, self._batch_size - row)
        some, rows = slice(first, first + count), slice(row, row + count)
        self.strips.append(Strip(image.image_index, image.number, run.crops[first], row, count))
        self._num_views += count
        if self._pool.on_device:
            self._keep(run, some, rows, pixels)
        else:
            self._submit(run, some, rows, pixels)
        return count

    def _submit(self, run: DrawnRun, some: slice, rows: slice, pixels: Tensor) -> None:
        """Let threads render a strip."""
        outs = [
            (views[rows], format.interpolation)
            for format, views in zip(self._view_formats, self._views, strict=True)
        ]
        mixing = None
        if run.partner is not None and self._mixed is not None:
            mixing = run.partner, some, (self._mixed, rows)
        rendering = self._policy, pixels, run.views(some), outs, mixing
        self._futures.append(self._pool.submit(render_run, *rendering))

    def _keep(self, run: DrawnRun, some: slice, rows: slice, pixels: Tensor) -> None:
        """Let a strip wait until the device renders the batch."""
        own = run.views(some)
        self._waiting.add(pixels, run.image.size, own)
        other = run.on_device(self._pool)
        if other is not None and self._mixed is not None:
            mixes = other.mixes[some]
            self._mixed.put(rows, mixes, other.content_hash)
            if other.pixels is not None:
                self._waiting.mix(other.pixels, other.size, mixes, other.number)
        if self._waiting.many:
            self._render_on_device()

    def _render_on_device(self) -> None:
        """Render the views that wait, the last ones of those that were added."""
        if len(self._waiting):
            rows = slice(self._num_views - len(self._waiting), self._num_views)
            self._waiting.render(self._view_formats, [views[rows] for views in self._views])
            self._waiting = Waiting(self._policy)

    def close(self) -> Pending[TeacherBatch]:
        """Add no more: the batch is finished when its views are rendered."""
        self._render_on_device()
        batch = TeacherBatch(self._views, self.strips, self.begun, self._mixed)
        return Pending(self._futures, lambda: batch)
