"""Stage 2's input: an image is decoded once, and m of its stored crops are rendered, in batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import Rendering
from fkd.images import ImageList
from fkd.labelled_images import LabelledImages
from fkd.picks import Bools, PickedVisits, Picks, whole_visits
from fkd.prefetch import SlabReader
from fkd.renderer import RenderedBatch, Renderer, ahead, render_views
from fkd.resample import CropTable, render_table
from fkd.schedule import Schedule
from fkd.slabs import Slab
from fkd.softlabels import Quantized
from fkd.stagger import dealt, decoded_steps
from fkd.store import LabelStore

# Decoded images of a batch, at most, that travel to the device; batches of larger photos are rendered by
# threads, to the same pixels, and stay small.
_PACKED_BYTES = 512 * 2**20


@dataclass
class StudentBatch(RenderedBatch):
    """Views for the student, uint8 [B, 3, S, S], their quantized labels and class ids (int64 [B]).

    The views of an image stand in a row, m of them or, of a selection, those of the m that are picked,
    unless they are dealt to several batches (`fkd.stagger`); `image_index` int64 [n] names the images
    that were decoded for it.
    """

    views: Tensor
    kept: Quantized
    targets: Tensor
    image_index: NDArray[np.int64]


def student_batches(
    renderer: Renderer,
    store: LabelStore,
    images: ImageList,
    schedule: Schedule,
    *,
    picks: Picks | None = None,
    first_step: int = 0,
    rank: int = 0,
    num_ranks: int = 1,
) -> Iterator[StudentBatch]:
    """Yield stage 2's input: one batch per step of the schedule, m stored crops per decoded image.

    With `picks`, those of the m crops that are picked. The schedule says whether the m crops share a
    batch or are dealt to m of them. A rank gets its share of each step. What a step holds is a function
    of schedule and picks alone, so a run may be continued from any step.
    """
    labelled, slabs = store.labelled_images(), SlabReader(renderer.pool, store, schedule)
    files = LabelledImages(images, store.content_hashes())
    how = Rendering(store.spec.size, store.spec.interpolation)

    def steps_from(first: int) -> Iterator[Sequence[PickedVisits]]:
        if picks is None:
            return whole_visits(schedule, first, rank, num_ranks)
        return picks.batches(schedule, first, rank, num_ranks)

    def submitted() -> Iterator[StudentBatch]:
        for parts in decoded_steps(schedule, first_step, steps_from):
            rows = [slabs.rows(index, labelled[positions]) for index, positions, _ in parts]
            visited = np.concatenate([labelled[positions] for _, positions, _ in parts])
            picked = np.concatenate([picked for _, _, picked in parts])
            yield _visit(renderer, files, visited, Slab.concatenate(rows), picked, how)

    decoded = ahead(submitted())
    return dealt(decoded, schedule, partial(_join, renderer)) if schedule.apart else decoded


def _join(renderer: Renderer, decoded: list[StudentBatch]) -> StudentBatch:
    """Put every m-th view of each of m batches together, from view c on of batch c."""
    m = len(decoded)
    share, size = len(decoded[0].views) // m, decoded[0].views.shape[-1]
    views = renderer.views(m * share, size)
    for c, batch in enumerate(decoded):
        views[c * share : (c + 1) * share].copy_(batch.views[c::m])
    shares = list(enumerate(decoded))
    kept = {n: torch.cat([batch.kept[n][c::m] for c, batch in shares]) for n in decoded[0].kept}
    targets = torch.cat([batch.targets[c::m] for c, batch in shares])
    return StudentBatch(views, kept, targets, decoded[0].image_index)


def _visit(
    renderer: Renderer,
    files: LabelledImages,
    visited: NDArray[np.int64],
    slab: Slab,
    picked: Bools,
    how: Rendering,
) -> StudentBatch:
    """Submit the rendering of one batch.

    `visited` int64 [n] are its images, `slab` their rows, [n, m, …], `picked` bool [n, m] says which of
    their crops to render.
    """
    kept = {name: torch.from_numpy(values[picked]) for name, values in slab.kept.items()}
    targets = torch.from_numpy(np.repeat(slab.target, picked.sum(axis=1)))
    batch = StudentBatch(torch.empty(0), kept, targets, visited)
    if renderer.on_device and 3 * _num_pixels(slab).sum() <= _PACKED_BYTES:
        _render_on_device(renderer, batch, files, slab, picked, how)
    else:
        _render_in_threads(renderer, batch, files, slab, picked, how)
    return batch


def _render_in_threads(
    renderer: Renderer,
    batch: StudentBatch,
    files: LabelledImages,
    slab: Slab,
    picked: Bools,
    how: Rendering,
) -> None:
    """Let threads decode, and render straight into the batch."""
    box, flip = slab.box[picked], slab.flip[picked]
    stop = picked.sum(axis=1).cumsum().tolist()
    views = batch.views = renderer.views(len(box), how.size)

    def fill(few: range) -> None:
        for n in few:
            pixels = files.decode(int(batch.image_index[n]), slab.size[n])
            own = slice(stop[n - 1] if n else 0, stop[n])
            render_views(pixels, box[own], flip[own], views[own], how.interpolation)

    batch.pending += [
        renderer.pool.submit(fill, few) for few in renderer.share_out(len(batch.image_index))
    ]


def _render_on_device(
    renderer: Renderer,
    batch: StudentBatch,
    files: LabelledImages,
    slab: Slab,
    picked: Bools,
    how: Rendering,
) -> None:
    """Let threads decode into one buffer; it goes to the device whole, and all is rendered there."""
    num_views = picked.sum(axis=1)
    stop = _num_pixels(slab).cumsum()
    first = stop - _num_pixels(slab)
    packed = renderer.pixels(int(stop[-1]))

    def fill(few: range) -> None:
        for n in few:
            pixels = files.decode(int(batch.image_index[n]), slab.size[n])
            packed[first[n] : stop[n]] = pixels.permute(1, 2, 0).reshape(-1, 3)

    def finish() -> None:
        pixels = packed.to(renderer.device, non_blocking=True)
        table = CropTable(
            np.repeat(first, num_views),
            np.repeat(slab.size[:, 1].astype(np.int64), num_views),
            slab.box[picked].astype(np.int64),
            slab.flip[picked],
        )
        batch.views = render_table(pixels, table, how.size, how.interpolation)

    batch.pending += [
        renderer.pool.submit(fill, few) for few in renderer.share_out(len(batch.image_index))
    ]
    batch.finish = finish


def _num_pixels(slab: Slab) -> NDArray[np.int64]:
    size: NDArray[np.int64] = slab.size.astype(np.int64)
    return size[:, 0] * size[:, 1]
