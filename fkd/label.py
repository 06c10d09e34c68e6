"""`fkd label`: run the teachers once over M views of every image and store what they said."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from fkd.assembler import Assembler
from fkd.config import LabelConfig
from fkd.errors import DecodeError, ImagesError, SoftLabelError, StoreError
from fkd.images import ImageList, dataset_root, fingerprint, first_difference, list_images
from fkd.labels import Quantized, faulty_rows, quantize
from fkd.machine import Download, device_memory, held, resolve_device
from fkd.preflight import check_teachers
from fkd.progress import note, progress
from fkd.ranks import Ranks
from fkd.store import (
    LabelStore,
    StoreSpec,
    TeacherRecord,
    check_replaceable,
    drift,
    library_versions,
    now,
    plan_spec,
    probe,
)
from fkd.teacher_views import TeacherBatch, teacher_batches
from fkd.teachers import Ensemble, load_teachers
from fkd.views import RENDERER, SAMPLER, Renderer


def label_images(config: LabelConfig) -> LabelStore:
    """Label an image folder into a store and return it; a store that is there is continued.

    Finished blocks are neither decoded nor labelled again. Under torchrun the processes share the blocks
    out; the leading one returns when all are done, the others when none is left to take. Raises
    `FkdError` for bad input, before the first image is decoded wherever that can be known.
    """
    ranks = Ranks.join()
    device = resolve_device(ranks.device(config.device))
    root = dataset_root(config.images)
    if config.out.is_symlink():
        config = replace(config, out=config.out.resolve())
    _refuse_nested(config.out, root)
    images = list_images(root)
    with device_memory("choose a device with room for the teachers"):
        teachers = load_teachers(config.teachers, images.classes, device, config.engine)
    spec = describe(config, images, teachers)
    config = replace(config, overwrite=config.overwrite and not ranks.restarted)
    with _hold(config, ranks, spec, images, teachers) as store:
        pending = ranks.once("pending", store.pending_blocks)
        if pending and ranks.leads:
            with _enough_memory(config):
                check_teachers(teachers, images, config)
        elif ranks.leads:
            note(f"{config.out} is complete: there is nothing to do (`fkd check` looks into it)")
            return store
        with _enough_memory(config):
            label_blocks(config, images, teachers, store, ranks, pending)
    store = LabelStore.open(config.out)
    if ranks.leads:
        store.require_complete()
    return store


def _enough_memory(config: LabelConfig) -> AbstractContextManager[None]:
    return device_memory(
        f"choose a --batch-size below {config.batch_size}, or --amp bf16, and run the same command "
        "again to go on"
    )


def describe(config: LabelConfig, images: ImageList, teachers: Ensemble) -> StoreSpec:
    """Put into the store's attributes all that a reader needs to read, and to refuse."""
    first = teachers.teachers[0].preprocessing
    return plan_spec(
        num_images=len(images),
        num_crops=config.num_crops,
        num_classes=len(teachers.classes.names),
        block_images=config.block_images,
        scheme=config.scheme,
        views=config.views,
        sampler=SAMPLER,
        renderer=RENDERER,
        probe=probe(first.interpolation),
        size=first.size,
        interpolation=first.interpolation,
        temperature=config.temperature,
        amp=config.engine.amp,
        teachers=tuple(
            TeacherRecord(t.name, t.weights_hash, t.class_map.outputs_hash(), t.preprocessing)
            for t in teachers.teachers
        ),
        images_root=str(images.root),
        fingerprint=fingerprint(images.paths, images.num_bytes),
        versions=library_versions(),
        created=now(),
    )


@contextmanager
def _hold(
    config: LabelConfig, ranks: Ranks, spec: StoreSpec, images: ImageList, teachers: Ensemble
) -> Iterator[LabelStore]:
    """Create or open the store on the leading rank and keep other labelers away from it."""
    if not ranks.leads:
        ranks.once("created", lambda: None)
        yield LabelStore.open(config.out, writable=True)
        return
    _create(config, spec, images, teachers)
    store = LabelStore.open(config.out, writable=True)
    store.require_lists()
    _refuse_other_settings(config, store, spec, images)
    changed = drift(store.spec, config.out)
    if changed:
        note(f"warning: {changed}; --overwrite labels all images anew")
    with _locked(config):
        ranks.once("created", lambda: None)
        yield LabelStore.open(config.out, writable=True)


def _create(config: LabelConfig, spec: StoreSpec, images: ImageList, teachers: Ensemble) -> None:
    """Make the store where there is none or, with `--overwrite`, in the place of one that is idle."""
    there = os.path.lexists(config.out)
    targets, names = teachers.classes.target_of[images.targets], teachers.classes.names
    if not there:
        LabelStore.create(config.out, spec, images, targets, names)
    elif config.overwrite:
        check_replaceable(config.out)
        with _locked(config):
            LabelStore.create(config.out, spec, images, targets, names, overwrite=True)


def _locked(config: LabelConfig) -> AbstractContextManager[None]:
    busy = StoreError(
        f"another `fkd label` is at work on {config.out}; wait for it or stop it, or start all "
        "processes of one run with torchrun"
    )
    return held(config.out / "zarr.json", busy, "fkd label")


def _refuse_nested(out: Path, root: Path) -> None:
    """Keep labels and images apart: a store among the class folders would be taken for one of them."""
    real, images = out.resolve(), root.resolve()
    if real.is_relative_to(images) or images.is_relative_to(real):
        where = "inside" if real.is_relative_to(images) else "around"
        raise StoreError(
            f"--out {out} lies {where} the image folder {root}; name a place beside it with --out"
        )


def _refuse_other_settings(
    config: LabelConfig, store: LabelStore, spec: StoreSpec, images: ImageList
) -> None:
    if store.spec.fingerprint != spec.fingerprint:
        changed = first_difference(store.image_paths(), store.num_bytes(), images)
        raise ImagesError(
            f"{config.out} was made from other images than {images.root} holds now: {changed}; "
            "restore them, or use --out for another store or --overwrite to start anew"
        )
    difference = store.spec.first_difference(spec)
    if difference:
        raise StoreError(
            f"{config.out} was made with other settings: {difference}; "
            "use the same settings to continue it, --out for another store or --overwrite to start anew"
        )


def label_blocks(
    config: LabelConfig,
    images: ImageList,
    teachers: Ensemble,
    store: LabelStore,
    ranks: Ranks,
    pending: list[int],
) -> None:
    """Label what is missing: views → teachers → quantize → block → store.

    Views are rendered and blocks are written by other threads while the teachers have a batch; the
    teachers keep the main thread, whose allocator serves large blocks best.
    """
    spec = store.spec
    todo = sum(len(spec.block_range(b)) for b in pending) * spec.num_crops
    indices = (i for block in ranks.claim(pending) for i in spec.block_range(block))
    assembler = Assembler(spec, _BadImages(config, spec, ranks, store.num_bad()))
    with (
        Renderer(config.workers, teachers.device, config.render) as renderer,
        ThreadPoolExecutor(1, thread_name_prefix="fkd-write") as writer,
        progress(
            None,
            "label",
            unit="view",
            total=spec.num_images * spec.num_crops,
            initial=spec.num_images * spec.num_crops - todo,
            disable=not ranks.leads,
        ) as bar,
    ):
        batches = teacher_batches(
            renderer,
            images,
            indices,
            config.views,
            spec.num_crops,
            config.batch_size,
            teachers.renderings,
        )
        written: Future[None] | None = None
        for batch, kept in _answers(teachers, batches, config, images):
            for number, block in assembler.add(batch, kept):
                if written is not None:
                    written.result()
                written = writer.submit(store.commit_block, number, block)
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


def _answers(
    teachers: Ensemble, batches: Iterator[TeacherBatch], config: LabelConfig, images: ImageList
) -> Iterator[tuple[TeacherBatch, Quantized]]:
    """Yield batches with their labels on the CPU; a GPU has the next batch before they are read."""
    waiting: _Asked | None = None
    for batch in batches:
        asked = _ask(teachers, batch, config)
        if waiting is not None:
            yield waiting.batch, _answer(waiting, config, images)
        waiting = asked
    if waiting is not None:
        yield waiting.batch, _answer(waiting, config, images)


@dataclass(frozen=True)
class _Asked:
    """A batch that the teachers have, and its labels on the way; None where it has no views."""

    batch: TeacherBatch
    probs: torch.Tensor | None = None
    coming: Download | None = None


def _ask(teachers: Ensemble, batch: TeacherBatch, config: LabelConfig) -> _Asked:
    """Put a batch to the teachers; on a GPU nothing here waits for it."""
    if not batch.num_views:
        return _Asked(batch)
    probs = teachers.probs(batch.views, batch.num_views, config.temperature)
    coming = Download(faulty=faulty_rows(probs), **quantize(probs, config.scheme))
    return _Asked(batch, probs, coming)


def _answer(asked: _Asked, config: LabelConfig, images: ImageList) -> Quantized:
    """Wait for a batch's quantized labels; refuse any that come from no distribution."""
    if asked.probs is None or asked.coming is None:
        return {}
    kept = asked.coming.wait()
    faulty = kept.pop("faulty")
    if faulty.any():
        row = int(faulty.int().argmax())
        said = asked.probs[row]
        names = ", ".join(t.name for t in config.teachers)
        raise SoftLabelError(
            f"teacher {names}, {_culprit(row, asked.batch, images)}: its probabilities lie in "
            f"[{float(said.min()):g}, {float(said.max()):g}] and sum to {float(said.sum()):g}; "
            "check --teacher-weights, --mean, --std, --amp and --temperature"
        )
    return kept


def _culprit(row: int, batch: TeacherBatch, images: ImageList) -> str:
    """Name the view in a row of a batch."""
    strip = next(s for s in batch.strips if s.first_row <= row < s.first_row + s.count)
    crop = strip.first_crop + row - strip.first_row
    return f"image {images.file(strip.image_index)}, crop {crop}"


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
