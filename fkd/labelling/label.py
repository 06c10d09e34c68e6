"""`fkd label`: run the teachers once over M views of every image and store their labels."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from fkd.config import LabelConfig, Scheme, as_config
from fkd.errors import ImagesError
from fkd.format import StoreSpec
from fkd.images import ImageList, take_part
from fkd.labelling.answers import LabelledBatch, StoredViews, answers
from fkd.labelling.assembler import Assembler
from fkd.labelling.batches import teacher_batches, views_at_a_time
from fkd.labelling.drawing import DrawnImage, WantedViews
from fkd.labelling.growing import MatchedImages, kept_scheme, settled
from fkd.labelling.inputs import all_images, check_inputs, refuse_alone, refuse_no_store
from fkd.labelling.labelled_before import LabelledBefore
from fkd.labelling.opening import (
    begins_anew,
    held_store,
    new_spec,
    refuse_nested,
    refuse_other_images,
    teachers_of,
)
from fkd.labelling.preflight import check_teachers
from fkd.labelling.processes import Ranks
from fkd.labelling.report import closing_lines, going_on_lines, opening_lines
from fkd.labelling.truth import of_labels, say_what_is_left_out, truth_beside
from fkd.machine import device_memory, make_current, resolve_device
from fkd.progress import note, note_lines, progress_bar
from fkd.store import LabelStore
from fkd.teachers import Ensemble
from fkd.truth import Truth
from fkd.views import RenderPool


def label_images(config: LabelConfig) -> LabelStore:
    """Label an image folder, or a part of it, into a store, or go on with one, and return it.

    Finished blocks are neither decoded nor labelled again. Under torchrun the processes share the blocks
    out; the leading one returns when all are done, the others when none is left to take, and where one
    fails or is stopped they all end. Raises `FkdError` for bad input, before the first image is decoded
    wherever that can be known.
    """
    as_config(config, LabelConfig)
    root = check_inputs(config)
    ranks = Ranks.join()
    with ranks.together():
        return _label(config, root, ranks)


def _label(config: LabelConfig, root: Path, ranks: Ranks) -> LabelStore:
    device = make_current(resolve_device(ranks.device(config.device)))
    if config.out.is_symlink():
        config = replace(config, out=config.out.resolve())
    refuse_nested(config.out, root)
    refuse_no_store(config)
    config = replace(config, overwrite=config.overwrite and not ranks.restarted)
    config = replace(config, num_crops=ranks.once("crops", lambda: settled(config).crops))
    listed = all_images(config, root)
    images = take_part(config.part, listed)
    refuse_alone(config, images)
    truth = truth_beside(config, listed, images)
    if ranks.leads:
        refuse_other_images(config, listed, images)
    with device_memory("choose a device with room for the teachers"):
        teachers = teachers_of(config, listed, images, device, truth)
    kept = ranks.once("scheme", lambda: str(kept_scheme(config, teachers.grid)))
    config = replace(config, scheme=Scheme.parse(kept))
    truth = of_labels(config, teachers, truth)
    say_what_is_left_out(config, truth if ranks.leads else None)
    spec = new_spec(config, images, teachers, truth=truth)
    anew = ranks.leads and begins_anew(config)
    if anew:  # a teacher that is refused leaves no store behind, and replaces none
        lines = opening_lines(config, images, teachers, spec, ranks)
        look_first(config, images, teachers, lines, truth)
    with held_store(config, ranks, spec, listed, images, teachers) as (store, matched):
        pending = ranks.once("pending", store.pending_blocks)
        if not pending:
            if ranks.leads:
                note(
                    f"{config.out} is complete: there is nothing to do (`fkd check` looks into it)"
                )
            return store
        if ranks.leads and not anew:
            lines = going_on_lines(config, matched.images, teachers, store, ranks)
            look_first(config, _looked_at(store, matched), teachers, lines, truth)
        began = time.perf_counter()
        with enough_memory(config, device):
            label_blocks(config, matched.images, teachers, store, ranks, pending, truth=truth)
        seconds = time.perf_counter() - began
    store = LabelStore.open(config.out)
    if ranks.leads:
        store.require_complete()
        note_lines(closing_lines(store, ranks.add("labelled", 0), seconds))
    return store


def look_first(
    config: LabelConfig,
    images: ImageList,
    teachers: Ensemble,
    lines: list[tuple[str, str]],
    truth: Truth | None = None,
) -> None:
    """Say what the run works with, and look at the teachers before they label `images`."""
    note_lines(lines)
    with enough_memory(config, teachers.device):
        check_teachers(teachers, images, config, truth)
    note("labels are being made; the first batch is on its way")


def _looked_at(store: LabelStore, matched: MatchedImages) -> ImageList:
    """Return the images of the segments that are to be labelled, as far as they are there."""
    pending, wanted = {*store.pending_blocks()}, np.zeros(len(matched.there), np.bool_)
    for segment, blocks in zip(store.segments, store.blocks_by_segment(), strict=True):
        if pending.intersection(blocks):
            wanted[segment.images.start : segment.images.stop] = True
    return matched.images if wanted.all() else matched.images.take(np.flatnonzero(wanted))


def enough_memory(config: LabelConfig, device: torch.device) -> AbstractContextManager[None]:
    """Say what to do where a device has no room for the teachers' views."""
    return device_memory(
        f"choose a --batch-size below {views_at_a_time(config, device)}, or --amp bf16, and run the same "
        "command again to go on"
    )


def label_blocks(
    config: LabelConfig,
    images: ImageList,
    teachers: Ensemble,
    store: LabelStore,
    ranks: Ranks,
    pending: list[int],
    stored: StoredViews | None = None,
    truth: Truth | None = None,
) -> None:
    """Label the `pending` blocks of a store, segment after segment; `images` are in its order.

    Views are drawn, or those of another store, with whose labels the teachers' are averaged. `truth` is
    that of the images, in any order.

    More crops of an image are compared with what its first segment says of it, so that this must be
    finished by all ranks. Views are rendered and blocks are written by other threads while the teachers
    have a batch; the teachers keep the main thread, whose allocator serves large blocks best.
    """
    total, todo = (
        sum(store.block(number).num_labels for number in numbers)
        for numbers in (range(store.num_blocks), pending)
    )
    bad = _BadImages(config, store.spec, ranks, store.num_bad())
    work = [sorted({*pending}.intersection(blocks)) for blocks in store.blocks_by_segment()]
    last = max(number for number, blocks in enumerate(work) if blocks)
    with (
        RenderPool(config.workers, teachers.device, config.render) as pool,
        progress_bar(
            "label", unit="view", total=total, initial=total - todo, disable=not ranks.leads
        ) as bar,
    ):
        of_images = None if truth is None else truth.of(images)
        labeller = _Labeller(config, images, teachers, ranks, pool, bar, stored, of_images)
        for number, blocks in enumerate(work):
            if not blocks:
                continue
            labeller.label(store, number, blocks, bad)
            if number < last or ranks.leads:
                labeller.wait_for_others(number)
            if number < last:  # what other ranks have sealed is seen by who opens the store
                store = LabelStore.open(store.path, writable=True)


@dataclass(frozen=True)
class _Labeller:
    """What labels the blocks of one segment after another."""

    config: LabelConfig
    images: ImageList
    teachers: Ensemble
    ranks: Ranks
    pool: RenderPool
    bar: "tqdm[object]"
    stored: StoredViews | None = None
    truth: Truth | None = None

    def label(self, store: LabelStore, number: int, pending: list[int], bad: "_BadImages") -> None:
        """Label pending blocks of segment `number`: views → teachers → quantize → block → store."""
        spec, first = store.segments[number].spec, store.blocks_by_segment()[number].start
        more = spec.first_crop > 0
        assembler = Assembler(spec, LabelledBefore(store, self.images) if more else bad)
        written: Future[None] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="fkd-write") as writer:
            for labelled in self._answers(store, number, pending):
                for block_number, block in assembler.add(labelled):
                    if written is not None:
                        written.result()
                    if self.stored is not None:
                        self.stored.complete(store.block(first + block_number).images, block)
                    written = writer.submit(store.commit_block, first + block_number, block)
                num_views = labelled.batch.num_views
                self.ranks.add("labelled", num_views)
                failed = sum(image.error is not None for image in labelled.batch.begun)
                self._show(self.ranks.add("views", num_views + failed * spec.num_crops))
            if written is not None:
                written.result()
        self.ranks.finish(f"segment {number}")

    def _answers(
        self, store: LabelStore, number: int, pending: list[int]
    ) -> Iterator[LabelledBatch]:
        """Yield the labels of all views of the blocks that this rank claims."""
        spec, config, teachers = store.segments[number].spec, self.config, self.teachers
        blocks = self.ranks.claim(f"segment {number}", pending)
        crops, numbers = store.segments[number].crops, store.image_numbers()
        paired, again = store.segments[number].images, self._seen_again(store)
        drawn = WantedViews(spec.views, crops, numbers, spec.sampler, paired, again)
        batches = teacher_batches(
            self.pool,
            self.images,
            (index for block in blocks for index in store.block(block).images),
            drawn if self.stored is None else self.stored,
            views_at_a_time(config, teachers.device),
            teachers.view_formats,
            self.truth,
        )
        targets = {name: store.vectors(name) for name in spec.vectors}
        return answers(teachers, batches, config, self.images, targets, self.stored)

    def _seen_again(self, store: LabelStore) -> LabelledBefore | None:
        """Return what compares partners with those that have labels already."""
        if not store.spec.mixes or self.stored is not None:
            return None
        return LabelledBefore(store, self.images, labelled=store.finished_crops() > 0)

    def wait_for_others(self, number: int) -> None:
        """Wait until all ranks have finished a segment."""
        while not self.ranks.all_finished(f"segment {number}"):
            time.sleep(0.5)
            self._show(self.ranks.add("views", 0))

    def _show(self, views: int) -> None:
        if not self.bar.disable:
            self.bar.update(self.bar.initial + views - self.bar.n)


class _BadImages:
    """Counts images that cannot be used, over all ranks, and stops the run where there are too many."""

    def __init__(self, config: LabelConfig, spec: StoreSpec, ranks: Ranks, known: int) -> None:
        self._share = config.max_bad
        self._num_images = spec.num_images
        self._ranks = ranks
        self._known = int(ranks.once("bad before", lambda: known))

    def __call__(self, image: DrawnImage) -> None:
        """Count an image; raises `ImagesError` where more cannot be used than the run allows."""
        error = image.error
        if error is None:
            return
        count = self._known + self._ranks.add("bad", 1)
        if count > self._share * self._num_images:
            raise ImagesError(
                f"{count} of {self._num_images} images cannot be used, more than "
                f"--max-bad {self._share:g} allows; the last one is {error}"
            )
