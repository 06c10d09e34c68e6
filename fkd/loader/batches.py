"""Stage 2's input: an image is decoded once, and m of its stored crops are rendered, in batches."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import ViewFormat
from fkd.images import ImageList
from fkd.labels import Quantized
from fkd.loader.picks import Bools, PickedVisits, Picks, whole_visits
from fkd.loader.prefetch import SlabPrefetcher
from fkd.loader.schedule import Schedule
from fkd.loader.stagger import dealt, decoded_steps
from fkd.machine import upload
from fkd.store import LabelledImages, LabelStore, Slab
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

# The most bytes of decoded images that a batch sends to the device. Batches of larger photos are rendered
# by threads, to the same pixels, and stay small.
_PACKED_BYTES = 512 * 2**20


@dataclass(frozen=True)
class StudentBatch:
    """Views for the student, uint8 [B, 3, S, S], their quantized labels and class ids.

    `targets` int64 [B] are the classes of the images' folders, -1 where images have no classes.
    The m views of an image stand in a row; with a selection, those of them that are picked. Views that
    are to be dealt to several batches (`fkd.loader.stagger`) stand share by share. `image_index` int64
    [n] names the images that were decoded for the batch.
    """

    views: Tensor
    kept: Quantized
    targets: Tensor
    image_index: NDArray[np.int64]

    def to(self, device: torch.device) -> "StudentBatch":
        """Return the batch on a device. It is copied whole: a GPU would wait for a part of it."""
        kept = {name: upload(values, device) for name, values in self.kept.items()}
        views, targets = upload(self.views, device), upload(self.targets, device)
        return StudentBatch(views, kept, targets, self.image_index)


def student_batches(  # noqa: PLR0913  what a run reads, and where a process begins in it
    pool: RenderPool,
    store: LabelStore,
    images: ImageList,
    schedule: Schedule,
    *,
    chosen: NDArray[np.int64] | None = None,
    picks: Picks | None = None,
    first_step: int = 0,
    rank: int = 0,
    num_ranks: int = 1,
) -> Iterator[StudentBatch]:
    """Yield stage 2's input: one batch per step of the schedule, m stored crops per decoded image.

    `chosen`, int64 [N], are the images that the schedule is of; None are all that have labels. With
    `picks`, only picked crops are taken. The schedule says whether the m crops share a batch or are
    dealt to m of them. A rank gets its share of each step. What a step holds is a function of schedule
    and picks alone, so a run may be continued from any step.
    """
    numbers = store.labelled_images() if chosen is None else chosen
    if len(numbers) != schedule.num_images:
        raise ValueError(f"the schedule is of {schedule.num_images} images, not of {len(numbers)}")
    slabs = SlabPrefetcher(pool.threads, store, schedule)
    files = LabelledImages(images, store.content_hashes())
    renderer = _Renderer(pool, files, ViewFormat(store.spec.size, store.spec.interpolation))
    shares = schedule.crops_per_image if schedule.apart else 1

    def steps_from(first: int) -> Iterator[Sequence[PickedVisits]]:
        if picks is None:
            return whole_visits(schedule, first, rank, num_ranks)
        return picks.batches(schedule, first, rank, num_ranks)

    def submitted() -> Iterator[Pending[StudentBatch]]:
        for parts in decoded_steps(schedule, first_step, steps_from):
            rows = [slabs.rows(index, numbers[positions]) for index, positions, _ in parts]
            visited = np.concatenate([numbers[positions] for _, positions, _ in parts])
            picked = np.concatenate([picked for _, _, picked in parts])
            crops = _Crops.of(visited, Slab.concatenate(rows), picked, shares)
            yield renderer.submit(crops)

    def join(decoded: list[StudentBatch]) -> StudentBatch:
        return _join(decoded, pool.device)

    decoded = ahead(submitted())
    return dealt(decoded, schedule, join) if schedule.apart else decoded


def _join(decoded: list[StudentBatch], device: torch.device) -> StudentBatch:
    """Put share c of batch c of m batches together, on the device where the student is."""
    size = len(decoded[0].views) // len(decoded)
    shares = [(batch, slice(c * size, (c + 1) * size)) for c, batch in enumerate(decoded)]
    views = torch.cat([upload(batch.views[rows], device) for batch, rows in shares])
    kept = {n: torch.cat([batch.kept[n][rows] for batch, rows in shares]) for n in decoded[0].kept}
    targets = torch.cat([batch.targets[rows] for batch, rows in shares])
    return StudentBatch(views, kept, targets, decoded[0].image_index)


@dataclass(frozen=True)
class _Crops:
    """The crops of one batch, B of n images, in the order of its rows.

    `visited` int64 [n] are the images and `sides` int64 [n, 2] their height and width; `image` int64 [B]
    says which of them a row is a crop of. `box`, `flip`, `kept` and `targets` are of the rows.
    """

    visited: NDArray[np.int64]
    sides: NDArray[np.int64]
    image: NDArray[np.int64]
    box: Boxes
    flip: Flips
    kept: Quantized
    targets: Tensor

    @classmethod
    def of(cls, visited: NDArray[np.int64], slab: Slab, picked: Bools, shares: int) -> "_Crops":
        """Take the picked crops, bool [n, m], from the images' rows of a slab, [n, m, …].

        Crops are dealt to the shares in turn. Each share stands in one piece of memory.
        """
        image, crop = picked.nonzero()
        order = np.arange(len(image)).reshape(-1, shares).T.ravel()
        image, crop = image[order], crop[order]
        return cls(
            visited,
            slab.size.astype(np.int64),
            image,
            slab.box[image, crop],
            slab.flip[image, crop],
            {name: torch.from_numpy(values[image, crop]) for name, values in slab.kept.items()},
            torch.from_numpy(slab.target[image]),
        )

    @property
    def num_pixels(self) -> NDArray[np.int64]:
        """Pixels of each image, int64 [n]."""
        pixels: NDArray[np.int64] = self.sides.prod(axis=1)
        return pixels

    def batch(self, views: Tensor) -> StudentBatch:
        """Return the batch that has these crops, rendered: uint8 [B, 3, S, S]."""
        return StudentBatch(views, self.kept, self.targets, self.visited)


@dataclass(frozen=True)
class _Renderer:
    """Renders crops of `files` in one format, in the threads of a pool or on its device."""

    pool: RenderPool
    files: LabelledImages
    format: ViewFormat

    def submit(self, crops: _Crops) -> Pending[StudentBatch]:
        """Let threads begin with one batch."""
        if self.pool.on_device and 3 * crops.num_pixels.sum() <= _PACKED_BYTES:
            return self._submit_to_device(crops)
        return self._submit_to_threads(crops)

    def _submit_to_threads(self, crops: _Crops) -> Pending[StudentBatch]:
        """Let threads decode, and render straight into the batch."""
        views = self.pool.empty_views(len(crops.box), self.format.size)
        by_image = np.argsort(crops.image, kind="stable")
        ends = np.bincount(crops.image, minlength=len(crops.visited)).cumsum()
        rows_of = np.split(by_image, ends)

        def draw(n: int, pixels: Tensor) -> None:
            rows = rows_of[n]
            out = [views[row] for row in rows.tolist()]
            render_views(pixels, crops.box[rows], crops.flip[rows], out, self.format.interpolation)

        return Pending(self._decode(crops, draw), lambda: crops.batch(views))

    def _submit_to_device(self, crops: _Crops) -> Pending[StudentBatch]:
        """Let threads decode into one buffer; it goes to the device whole, and all is rendered there."""
        stop = crops.num_pixels.cumsum()
        first = stop - crops.num_pixels
        packed = self.pool.empty_pixels(int(stop[-1]))

        def pack(n: int, pixels: Tensor) -> None:
            packed[first[n] : stop[n]] = pixels.permute(1, 2, 0).reshape(-1, 3)

        def finish() -> StudentBatch:
            width, box = crops.sides[crops.image, 1], crops.box.astype(np.int64)
            table = CropTable(first[crops.image], width, box, crops.flip)
            pixels = upload(packed, self.pool.device)
            size, interpolation = self.format.size, self.format.interpolation
            return crops.batch(render_table(pixels, table, size, interpolation))

        return Pending(self._decode(crops, pack), finish)

    def _decode(self, crops: _Crops, use: Callable[[int, Tensor], None]) -> list["Future[None]"]:
        """Let threads decode the images, n of them, and call `use` with the number and pixels of each."""

        def decode(numbers: range) -> None:
            for n in numbers:
                use(n, self.files.decode(int(crops.visited[n]), crops.sides[n]))

        return [self.pool.submit(decode, run) for run in self.pool.share_out(len(crops.visited))]
