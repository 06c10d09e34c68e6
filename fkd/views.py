"""What each stage sees, in batches: all stored views for the teacher, m a visit for the student."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import Preprocessing, Rendering, ViewPolicy
from fkd.crops import Boxes, Flips, render_center, sample_views
from fkd.errors import DecodeError, ImagesError
from fkd.images import ImageList, decode, inspect
from fkd.renderer import RenderedBatch, Renderer, ahead, render_views
from fkd.schedule import Schedule
from fkd.slabs import Slab
from fkd.softlabels import Quantized
from fkd.store import LabelStore

# Views of one image that a worker renders in one go when an image fills many rows of a batch.
_STRIP = 16


@dataclass(frozen=True)
class DrawnImage:
    """A decoded image, uint8 [3, H, W], with its M views; `pixels` is None where it has an `error`."""

    image_index: int
    boxes: Boxes
    flips: Flips
    pixels: Tensor | None
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

    `views` are uint8 [B, 3, S, S], once for each rendering that was asked for.
    """

    views: list[Tensor]
    strips: list[Strip] = field(default_factory=list)
    begun: list[DrawnImage] = field(default_factory=list)

    @property
    def num_views(self) -> int:
        """Rows that are filled; only the last batch may have others."""
        return self.strips[-1].first_row + self.strips[-1].count if self.strips else 0


def teacher_batches(
    renderer: Renderer,
    images: ImageList,
    indices: Iterable[int],
    policy: ViewPolicy,
    num_crops: int,
    batch_size: int,
    renderings: Sequence[Rendering],
) -> Iterator[TeacherBatch]:
    """Yield stage 1's input: all M views of the images, in order, in batches filled across images."""
    drawn = _draw(renderer, images, indices, policy, num_crops)
    return ahead(_fill(renderer, drawn, num_crops, batch_size, renderings))


def _draw(
    renderer: Renderer,
    images: ImageList,
    indices: Iterable[int],
    policy: ViewPolicy,
    num_crops: int,
) -> Iterator[DrawnImage]:
    """Decode images in order, one per worker ahead of the one that is rendered."""

    def draw(image_index: int) -> DrawnImage:
        path = images.file(image_index)
        try:
            inspect(path)
            pixels = decode(path)
        except DecodeError as error:
            boxes, flips = np.zeros((num_crops, 4), np.uint16), np.zeros(num_crops, np.bool_)
            return DrawnImage(image_index, boxes, flips, None, error)
        height, width = pixels.shape[-2:]
        boxes, flips = sample_views(policy, image_index, num_crops, height, width)
        return DrawnImage(image_index, boxes, flips, pixels)

    queue: deque[Future[DrawnImage]] = deque()
    for image_index in indices:
        queue.append(renderer.pool.submit(draw, image_index))
        if len(queue) > renderer.workers:
            yield queue.popleft().result()
    while queue:
        yield queue.popleft().result()


def _fill(
    renderer: Renderer,
    drawn: Iterator[DrawnImage],
    num_crops: int,
    batch_size: int,
    renderings: Sequence[Rendering],
) -> Iterator[TeacherBatch]:
    def empty() -> TeacherBatch:
        return TeacherBatch([renderer.buffer(batch_size, how.size) for how in renderings])

    batch, row = empty(), 0
    for image in drawn:
        batch.begun.append(image)
        crop = 0
        while image.pixels is not None and crop < num_crops:
            count = min(_STRIP, num_crops - crop, batch_size - row)
            crops, rows = slice(crop, crop + count), slice(row, row + count)
            batch.strips.append(Strip(image.image_index, crop, row, count))
            drawing = image.pixels, image.boxes[crops], image.flips[crops]
            batch.pending += [
                renderer.pool.submit(render_views, *drawing, views[rows], how.interpolation)
                for how, views in zip(renderings, batch.views, strict=True)
            ]
            row, crop = row + count, crop + count
            if row == batch_size:
                yield batch
                batch, row = empty(), 0
    if batch.begun or batch.strips:
        yield batch


@dataclass
class StudentBatch(RenderedBatch):
    """Views for the student, uint8 [B, 3, S, S], their quantized labels and class ids (int64 [B]).

    The m views of an image stand in a row; `image_index` int64 [B / m] names the images.
    """

    views: Tensor
    kept: Quantized
    targets: Tensor
    image_index: NDArray[np.int64]


def student_batches(
    renderer: Renderer, store: LabelStore, images: ImageList, schedule: Schedule
) -> Iterator[StudentBatch]:
    """Yield stage 2's input: one batch per step of the schedule, m stored crops per decoded image."""
    labelled, slabs = store.labelled_images(), _Slabs(renderer, store, schedule)
    how = Rendering(store.spec.size, store.spec.interpolation)

    def submitted() -> Iterator[StudentBatch]:
        for parts in schedule.batches():
            rows = [slabs.at(index).rows(labelled[positions]) for index, positions in parts]
            visited = np.concatenate([labelled[positions] for _, positions in parts])
            yield _visit(renderer, images, visited, Slab.concatenate(rows), how)

    return ahead(submitted())


def _visit(
    renderer: Renderer,
    images: ImageList,
    visited: NDArray[np.int64],
    slab: Slab,
    how: Rendering,
) -> StudentBatch:
    """Submit the rendering of one batch: visited int64 [n] and their rows of a slab, [n, m, …]."""
    num_images, m = slab.flip.shape
    views = renderer.buffer(num_images * m, how.size)

    def render_images(few: range) -> None:
        for n in few:
            render_image(n)

    def render_image(n: int) -> None:
        path = images.file(int(visited[n]))
        pixels = decode(path)
        height, width = slab.size[n]
        if pixels.shape[-2:] != (height, width):
            raise ImagesError(
                f"{path} has {pixels.shape[-1]}×{pixels.shape[-2]} pixels, {width}×{height} when it "
                "was labelled; restore the image or label the folder anew"
            )
        rows = views[n * m : (n + 1) * m]
        render_views(pixels, slab.box[n], slab.flip[n], rows, how.interpolation)

    kept = {
        name: torch.from_numpy(values.reshape(num_images * m, -1))
        for name, values in slab.kept.items()
    }
    targets = torch.from_numpy(np.repeat(slab.target, m))
    pending = [
        renderer.pool.submit(render_images, few) for few in renderer.share_out(num_images)
    ]
    return StudentBatch(views, kept, targets, visited, pending=pending)


class _Slabs:
    """The slab of the pass in use, with the next one on its way from disk."""

    def __init__(self, renderer: Renderer, store: LabelStore, schedule: Schedule) -> None:
        self._pool = renderer.pool
        self._store = store
        self._schedule = schedule
        self._slabs: dict[tuple[int, ...], Future[Slab]] = {}

    def at(self, pass_index: int) -> Slab:
        now, soon = (tuple(self._schedule.crop_slots(pass_index + n).tolist()) for n in (0, 1))
        self._slabs = {
            slots: self._slabs.get(slots) or self._pool.submit(self._store.read_crops, slots)
            for slots in (now, soon)
        }
        return self._slabs[now].result()


@dataclass
class EvaluationBatch(RenderedBatch):
    """Centre views, uint8 [B, 3, S, S], and their class ids in the folder's own list, int64 [B].

    `usable`, bool [B], is false where an image could not be decoded; `errors` says why.
    """

    views: Tensor
    targets: Tensor
    usable: Tensor
    errors: list[DecodeError]


def evaluation_batches(
    renderer: Renderer,
    images: ImageList,
    indices: Sequence[int],
    batch_size: int,
    how: Preprocessing,
) -> Iterator[EvaluationBatch]:
    """Yield the centre views of some images of a folder, in the given order."""

    def render_image(batch: EvaluationBatch, row: int, image_index: int) -> None:
        try:
            pixels = decode(images.file(image_index))
        except DecodeError as error:
            batch.views[row], batch.usable[row] = 0, False
            batch.errors.append(error)
        else:
            render_center(pixels, batch.views[row], how.interpolation)

    def submitted() -> Iterator[EvaluationBatch]:
        for start in range(0, len(indices), batch_size):
            chosen = indices[start : start + batch_size]
            targets = torch.from_numpy(images.targets[np.asarray(chosen)])
            usable = torch.ones(len(chosen), dtype=torch.bool)
            views = renderer.buffer(len(chosen), how.size)
            batch = EvaluationBatch(views, targets, usable, [])
            batch.pending += [
                renderer.pool.submit(render_image, batch, row, image_index)
                for row, image_index in enumerate(chosen)
            ]
            yield batch

    return ahead(submitted())
