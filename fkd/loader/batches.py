"""Stage 2's input: an image is decoded once, and m of its stored crops are rendered, in batches.

Where views are mixed with a partner's, so are they here, once both are rendered.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import count, groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import Fit, Interpolation, sides_of
from fkd.images import ImageList
from fkd.loader.filling import Crops, Decoded, Room, StudentBatch
from fkd.loader.mixing import Blending, MixPlan, OtherImages
from fkd.loader.picks import PickedVisits, Picks, whole_visits
from fkd.loader.prefetch import SlabPrefetcher
from fkd.loader.schedule import Schedule
from fkd.loader.sizes import SizePlan
from fkd.loader.stagger import dealt, decoded_steps
from fkd.machine import upload
from fkd.originals import LabelledImages, LabelledMasks, LabelledTexts, LabelledTruth
from fkd.store import LabelStore, Slab, StoredMixes, Toning
from fkd.views import (
    CropTable,
    Mixes,
    Pending,
    RenderPool,
    ahead,
    blend_on_device,
    render_mask,
    render_table,
    render_views,
)

# The most bytes of decoded images that a batch sends to the device. Batches of larger photos are rendered
# by threads, to the same pixels, and stay small.
_PACKED_BYTES = 512 * 2**20


def student_batches(  # noqa: PLR0913  what is read, which of it, and from where on
    pool: RenderPool,
    store: LabelStore,
    images: ImageList,
    schedule: Schedule,
    *,
    sizes: SizePlan | None = None,
    chosen: NDArray[np.int64] | None = None,
    picks: Picks | None = None,
    truth: LabelledTruth | None = None,
    first_step: int = 0,
    rank: int = 0,
    num_ranks: int = 1,
) -> Iterator[StudentBatch]:
    """Yield stage 2's input: one batch per step of the schedule, m stored crops per decoded image.

    All views of a step have the size that `sizes` has for it, by default the store's. `chosen`, int64
    [N], are the images that the schedule is of; None are all that have labels. With `picks`, only picked
    crops are taken. With `truth`, batches have the masks or texts of their views. The schedule says
    whether m crops share a batch or are dealt to m of them. A rank gets its share of each step. What a
    step holds is a function of schedule, sizes and picks, so a run may be continued from any step.
    """
    numbers = store.labelled_images() if chosen is None else chosen
    if len(numbers) != schedule.num_images:
        raise ValueError(f"the schedule is of {schedule.num_images} images, not of {len(numbers)}")
    mixes = StoredMixes.of_store(store)
    others = OtherImages(store.sizes(), store.targets()) if mixes else None
    slabs = SlabPrefetcher(pool.threads, store, schedule, mixes)
    files = LabelledImages(images, store.content_hashes())
    sizes = sizes or SizePlan.of_store(store.spec)
    shares = schedule.crops_per_image if schedule.apart else 1
    steps = range(first_step, schedule.total_steps)
    room = Room(pool, sizes, schedule.batch_size // num_ranks, shares, schedule.apart, steps)
    toning = Toning.of_store(store)
    masks = truth if isinstance(truth, LabelledMasks) else None
    how = sizes.interpolation, store.spec.views.fit
    renderer = _Renderer(pool, files, *how, room, toning, masks)

    def steps_from(first: int) -> Iterator[Sequence[PickedVisits]]:
        if picks is None:
            return whole_visits(schedule, first, rank, num_ranks)
        return picks.batches(schedule, first, rank, num_ranks)

    def submitted() -> Iterator[Pending[Decoded]]:
        decoded = decoded_steps(schedule, first_step, steps_from)
        for step, parts in zip(count(first_step - schedule.reach), decoded):
            rows = [slabs.rows(index, numbers[positions]) for index, positions, _ in parts]
            visited = np.concatenate([numbers[positions] for _, positions, _ in parts])
            picked = np.concatenate([picked for _, _, picked in parts])
            slots = np.repeat(
                [schedule.crop_slots(index) for index, _, _ in parts],
                [len(positions) for _, positions, _ in parts],
                axis=0,
            )
            mixed = None
            if others is not None:
                each = [slabs.mixes(index, numbers[positions]) for index, positions, _ in parts]
                mixed = Mixes.concatenate(each), others
            crops = Crops.of(visited, slots, Slab.concatenate(rows), picked, shares, mixed)
            yield renderer.submit(crops, step)

    decoded = ahead(submitted())
    batches = (
        dealt(decoded, schedule, room.close)
        if schedule.apart
        else (room.close([whole]) for whole in decoded)
    )
    if not isinstance(truth, LabelledTexts):
        return batches
    return (replace(batch, texts=truth.rows(batch.image_index)) for batch in batches)


@dataclass(frozen=True)
class _Renderer:
    """Renders crops of `files`, in the threads of a pool or on its device."""

    pool: RenderPool
    files: LabelledImages
    interpolation: Interpolation
    fit: Fit
    room: Room
    toning: Toning
    masks: LabelledMasks | None = None

    def submit(self, crops: Crops, step: int) -> Pending[Decoded]:
        """Let threads begin with what is decoded for a step."""
        if self.pool.on_device and 3 * crops.num_pixels.sum() <= _PACKED_BYTES:
            return self._submit_to_device(crops, step)
        return self._submit_to_threads(crops, step)

    def _submit_to_threads(self, crops: Crops, step: int) -> Pending[Decoded]:
        """Let threads decode, and render straight into the batches."""
        views: dict[int, Tensor] = {}
        for share in self.room.sizes(step):
            rows = range(len(crops.box))[self.room.rows(share)]
            views.update(zip(rows, self.room.place(step, share).unbind(), strict=True))
        drawn, blending = crops.views, None
        if crops.mixed is not None:
            plan = self._plan(crops, step)
            drawn = drawn.followed_by(plan.views_beside)
            for size in plan.sizes_beside:
                beside = plan.beside(size).tolist()
                views.update(zip(beside, self.pool.empty_views(len(beside), size), strict=True))
            blending = Blending(plan, drawn.image, views)
        rows_of = _by_image(views, drawn.image)
        draw_masks = self._masks_of(crops, step)

        def draw(n: int, pixels: Tensor) -> None:
            rows, out = rows_of[n], [views[row] for row in rows_of[n]]
            views_of = drawn.box[rows], drawn.flip[rows]
            render_views(pixels, *views_of, out, self.interpolation, self.fit)
            draw_masks(n)
            self.toning.change_all(out, int(crops.visited[n]), drawn.crop[rows])
            if blending is not None:
                blending.note_rendered(n)

        return Pending(self._decode(crops, list(rows_of), draw), lambda: Decoded(crops, {}))

    def _submit_to_device(self, crops: Crops, step: int) -> Pending[Decoded]:
        """Let threads decode into one buffer; it goes to the device whole, and all is rendered there."""
        stop = crops.num_pixels.cumsum()
        first = stop - crops.num_pixels
        packed = self.pool.empty_pixels(int(stop[-1]))
        sizes = self.room.sizes(step)
        plan = None if crops.mixed is None else self._plan(crops, step)
        drawn = crops.views if plan is None else crops.views.followed_by(plan.views_beside)
        draw_masks = self._masks_of(crops, step)

        def pack(n: int, pixels: Tensor) -> None:
            draw_masks(n)
            packed[first[n] : stop[n]] = pixels.permute(1, 2, 0).reshape(-1, 3)

        def finish() -> Decoded:
            table = CropTable.of_images(crops.sides, drawn.image, drawn.box, drawn.flip)
            pixels = upload(packed, self.pool.device)
            apart: dict[int, Tensor] = {}
            for size, alike in groupby(sizes, key=lambda share: sizes[share]):
                shares = list(
                    alike
                )  # sizes change a few times in a run: mostly these are all of them
                rows = np.arange(self.room.rows(shares[0]).start, self.room.rows(shares[-1]).stop)
                numbers = rows if plan is None else np.concatenate([rows, plan.beside(size)])
                how = size, self.interpolation
                views = render_table(pixels, table.take(numbers), *how, fit=self.fit)
                images = crops.visited[drawn.image[numbers]]
                self.toning.change(views, images, drawn.crop[numbers])
                if plan is not None:
                    views = self._mixed(views, plan, rows, numbers)
                apart |= dict(zip(shares, views.chunk(len(shares)), strict=True))
            return Decoded(crops, apart)

        return Pending(self._decode(crops, list(range(len(first))), pack), finish)

    def _masks_of(self, crops: Crops, step: int) -> Callable[[int], None]:
        """Return what renders the masks of an image's views straight into the batches, by its number.

        Nothing is done where masks are not asked for.
        """
        masks, out = self.masks, dict[int, Tensor]()
        if masks is None:
            return lambda n: None
        for share in self.room.sizes(step):
            rows = range(len(crops.box))[self.room.rows(share)]
            out.update(zip(rows, self.room.masks(step, share).unbind(), strict=True))
        rows_of = _by_image(out, crops.image)

        def draw(n: int) -> None:
            if n not in rows_of:
                return
            mask = masks.decode(int(crops.visited[n]), crops.sides[n])
            for row in rows_of[n]:
                some, size = slice(row, row + 1), (out[row].shape[0], out[row].shape[1])
                seen = render_mask(mask, crops.box[some], crops.flip[some], size, self.fit)
                out[row].copy_(seen[0])

        return draw

    def _plan(self, crops: Crops, step: int) -> MixPlan:
        """Plan what the views of a step are mixed with, and which are rendered beside it for that."""
        sides = np.zeros((len(crops.image), 2), np.int64)
        for share, size in self.room.sizes(step).items():
            sides[self.room.rows(share)] = sides_of(size)
        assert crops.mixed is not None
        return MixPlan.of(crops.views, crops.mixed, sides)

    def _mixed(
        self, rendered: Tensor, plan: MixPlan, rows: NDArray[np.int64], numbers: NDArray[np.int64]
    ) -> Tensor:
        """Mix the `rows` among views of one size on the device, which are those of `numbers`."""
        theirs = upload(torch.from_numpy(plan.places(rows, numbers)), self.pool.device)
        return blend_on_device(rendered[: len(rows)], rendered[theirs], plan.mixes[rows])

    def _decode(
        self, crops: Crops, numbers: list[int], use: Callable[[int, Tensor], None]
    ) -> list["Future[None]"]:
        """Let threads decode images, and call `use` with the number and pixels of each."""

        def decode(run: range) -> None:
            for n in numbers[run.start : run.stop]:
                use(n, self.files.decode(int(crops.visited[n]), crops.sides[n]))

        return [self.pool.submit(decode, run) for run in self.pool.share_out(len(numbers))]


def _by_image(rows: Iterable[int], image: NDArray[np.int64]) -> dict[int, list[int]]:
    """Return rows by the decoded image that each is of, where `image`, int64 [B], says which that is."""
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(int(image[row]), []).append(row)
    return found
