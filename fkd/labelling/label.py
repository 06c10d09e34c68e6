"""`fkd label`: run the teachers once over M views of every image and store their labels."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from fkd.config import LabelConfig, as_config
from fkd.errors import DecodeError, ImagesError
from fkd.format import (
    StoreSpec,
)
from fkd.images import ImageList, take_part
from fkd.labelling.answers import answers
from fkd.labelling.assembler import Assembler
from fkd.labelling.batches import teacher_batches, views_at_a_time
from fkd.labelling.inputs import all_images, check_inputs
from fkd.labelling.opening import begins_anew, held_store, new_spec, refuse_nested, teachers_of
from fkd.labelling.preflight import check_teachers
from fkd.labelling.processes import Ranks
from fkd.labelling.report import closing_lines, opening_lines
from fkd.machine import device_memory, make_current, resolve_device
from fkd.progress import note, note_lines, progress_bar
from fkd.store import (
    LabelStore,
)
from fkd.teachers import Ensemble
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
    listed = all_images(config, root)
    images = take_part(config.part, listed)
    with device_memory("choose a device with room for the teachers"):
        teachers = teachers_of(config, listed, images, device)
    spec = new_spec(config, images, teachers)
    config = replace(config, overwrite=config.overwrite and not ranks.restarted)
    anew = ranks.leads and begins_anew(config)
    if anew:  # a teacher that is refused leaves no store behind, and replaces none
        _look_first(config, images, teachers, spec, spec.num_blocks, ranks)
    with held_store(config, ranks, spec, images, teachers) as store:
        pending = ranks.once("pending", store.pending_blocks)
        if not pending:
            if ranks.leads:
                note(
                    f"{config.out} is complete: there is nothing to do (`fkd check` looks into it)"
                )
            return store
        if ranks.leads and not anew:
            _look_first(config, images, teachers, spec, len(pending), ranks)
        began = time.perf_counter()
        with _enough_memory(config, device):
            label_blocks(config, images, teachers, store, ranks, pending)
        seconds = time.perf_counter() - began
    store = LabelStore.open(config.out)
    if ranks.leads:
        store.require_complete()
        unusable = ranks.add("bad", 0) * config.num_crops
        note_lines(closing_lines(store, ranks.add("views", 0) - unusable, seconds))
    return store


def _look_first(
    config: LabelConfig,
    images: ImageList,
    teachers: Ensemble,
    spec: StoreSpec,
    num_pending: int,
    ranks: Ranks,
) -> None:
    """Say what the run works with, and look at the teachers before they label."""
    note_lines(opening_lines(config, images, teachers, spec, num_pending, ranks.num_ranks))
    with _enough_memory(config, teachers.device):
        check_teachers(teachers, images, config)
    note("labels are being made; the first batch is on its way")


def _enough_memory(config: LabelConfig, device: torch.device) -> AbstractContextManager[None]:
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
) -> None:
    """Label the `pending` blocks: views → teachers → quantize → block → store.

    Views are rendered and blocks are written by other threads while the teachers have a batch; the
    teachers keep the main thread, whose allocator serves large blocks best.
    """
    spec = store.spec
    todo = sum(len(spec.block_range(b)) for b in pending) * spec.num_crops
    indices = (i for block in ranks.claim(pending) for i in spec.block_range(block))
    assembler = Assembler(spec, _BadImages(config, spec, ranks, store.num_bad()))
    with (
        RenderPool(config.workers, teachers.device, config.render) as pool,
        ThreadPoolExecutor(1, thread_name_prefix="fkd-write") as writer,
        progress_bar(
            "label",
            unit="view",
            total=spec.num_images * spec.num_crops,
            initial=spec.num_images * spec.num_crops - todo,
            disable=not ranks.leads,
        ) as bar,
    ):
        batches = teacher_batches(
            pool,
            images,
            indices,
            spec.views,
            spec.num_crops,
            views_at_a_time(config, teachers.device),
            teachers.view_formats,
            spec.sampler,
        )
        written: Future[None] | None = None
        for labelled in answers(teachers, batches, config, images):
            for number, block in assembler.add(labelled):
                if written is not None:
                    written.result()
                written = writer.submit(store.commit_block, number, block)
            batch = labelled.batch
            views = sum(spec.num_crops for image in batch.begun if image.error) + batch.num_views
            _show(bar, ranks.add("views", views))
        if written is not None:
            written.result()
        ranks.finish()
        while ranks.leads and not ranks.all_finished():
            time.sleep(0.5)
            _show(bar, ranks.add("views", 0))


def _show(bar: "tqdm[object]", views: int) -> None:
    if not bar.disable:
        bar.update(bar.initial + views - bar.n)


class _BadImages:
    """Counts images that cannot be used, over all ranks, and stops the run where there are too many."""

    def __init__(self, config: LabelConfig, spec: StoreSpec, ranks: Ranks, known: int) -> None:
        self._share = config.max_bad
        self._num_images = spec.num_images
        self._ranks = ranks
        self._known = int(ranks.once("bad before", lambda: known))

    def __call__(self, error: DecodeError) -> None:
        count = self._known + self._ranks.add("bad", 1)
        if count > self._share * self._num_images:
            raise ImagesError(
                f"{count} of {self._num_images} images cannot be used, more than "
                f"--max-bad {self._share:g} allows; the last one is {error}"
            )
