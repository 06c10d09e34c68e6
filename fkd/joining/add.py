"""`fkd label --add-teacher`: one more teacher labels the views of a store, and joins those who did."""

import time
from dataclasses import replace
from pathlib import Path

import torch

from fkd.amounts import as_count
from fkd.config import AddTeacherConfig, Engine, LabelConfig, as_config
from fkd.errors import ImagesError, ModelError
from fkd.images import ImageList
from fkd.joining.inputs import check_adding
from fkd.joining.plan import Joined, held_joined, plan_joined
from fkd.joining.stored_views import JoinedViews, labelled_again
from fkd.labelling import (
    Ranks,
    closing_lines,
    enough_memory,
    going_on_lines,
    label_blocks,
    look_first,
    refuse_nested,
    views_at_a_time,
)
from fkd.labels import mean_scheme
from fkd.machine import device_memory, make_current, resolve_device
from fkd.originals import LabelledTexts, drift, find_images, find_labelled_truth
from fkd.progress import note, note_lines
from fkd.store import LabelStore
from fkd.teachers import Ensemble, load_teachers
from fkd.truth import Truth


def add_teacher(config: AddTeacherConfig) -> LabelStore:
    """Label the views of a finished store with more teachers, and store the mean, or go on with that.

    The store `config.to` is read alone. Under torchrun the processes share the blocks out, as those of
    `label_images` do. Raises `FkdError` for bad input, before the first image is decoded wherever that
    can be known, and for an image that is not the one that was labelled.
    """
    as_config(config, AddTeacherConfig)
    old = check_adding(config)
    ranks = Ranks.join()
    with ranks.together():
        return _add(config, old, ranks)


def _add(config: AddTeacherConfig, old: LabelStore, ranks: Ranks) -> LabelStore:
    device = make_current(resolve_device(ranks.device(config.device)))
    found = find_images(old, config.images)
    run = _as_run(config, old, found.root)
    refuse_nested(run.out, found.root)
    changed = drift(old.spec, config.to)
    if changed and ranks.leads:
        note(f"warning: {changed}; the teacher that joins sees today's pixels")
    with device_memory("choose a device with room for the teacher"):
        teachers = _load(run, old, found.classes, device)
    images = labelled_again(old, found)
    joined = plan_joined(run, old, images, teachers, config.weight)
    run = replace(run, overwrite=run.overwrite and not ranks.restarted)
    with held_joined(run, ranks, joined) as store:
        pending = ranks.once("pending", store.pending_blocks)
        if not pending:
            if ranks.leads:
                note(f"{run.out} is complete: there is nothing to do (`fkd check` looks into it)")
            return store
        if ranks.leads:
            lines = going_on_lines(run, images, teachers, store, ranks)
            look_first(
                run, images, teachers, [("joins", joined.words()), *lines], _truth(old, images)
            )
        return _label(run, joined, teachers, store, ranks, pending)


def _truth(old: LabelStore, images: ImageList) -> Truth | None:
    """Return what lies beside the images, for the look; None where there is none, or none any more."""
    if not old.spec.truth:
        return None
    try:
        found = find_labelled_truth(old, images)
    except ImagesError:  # labelling needs none of it
        return None
    return found.texts if isinstance(found, LabelledTexts) else found.masks


def _label(
    run: LabelConfig,
    joined: Joined,
    teachers: Ensemble,
    store: LabelStore,
    ranks: Ranks,
    pending: list[int],
) -> LabelStore:
    """Label the pending blocks, and return the store when all are."""
    ahead = run.workers + 3 * views_at_a_time(run, teachers.device) // run.crops
    stored = JoinedViews(joined.old, joined.share, ahead)
    began = time.perf_counter()
    with enough_memory(run, teachers.device):
        label_blocks(run, joined.images, teachers, store, ranks, pending, stored)
    seconds = time.perf_counter() - began
    finished = LabelStore.open(run.out)
    if ranks.leads:
        finished.require_complete()
        note_lines(closing_lines(finished, ranks.add("labelled", 0), seconds))
    return finished


def _as_run(config: AddTeacherConfig, old: LabelStore, root: Path) -> LabelConfig:
    """Return the labelling run that this is: by the new teachers, with all else as the store has it."""
    spec = old.spec
    out = config.out.resolve() if config.out.is_symlink() else config.out
    return LabelConfig(
        images=root,
        teacher=config.teachers,
        out=out,
        num_crops=spec.num_crops,
        views=spec.views,
        scheme=mean_scheme(config.scheme, spec.scheme),
        temperature=spec.temperature,
        batch_size=config.batch_size,
        workers=config.workers,
        device=config.device,
        block_images=config.block_images,
        # What had no labels has none; one image more is an error.
        max_bad=min(1.0, (old.num_bad() + 0.5) / spec.num_images),
        overwrite=config.overwrite,
        engine=Engine(spec.amp, config.compile),
        render=config.render,
        unlabelled=spec.unlabelled,
    )


def _load(
    run: LabelConfig, old: LabelStore, folder: tuple[str, ...], device: torch.device
) -> Ensemble:
    """Load the teachers that join, for the store's classes by name; `folder` are those of its images.

    Where the store keeps all that its teachers know, not the folder's classes alone, a teacher that knows
    more is refused: it would share its probability among classes of which the others say nothing.
    """
    names = old.class_names()
    teachers = load_teachers(
        run.teachers, names, device, run.engine, grid=old.spec.grid, joins=True
    )
    for teacher in teachers.teachers:
        columns = teacher.class_map.columns
        knows_more = columns is not None and len(columns) < teacher.num_outputs
        if knows_more and not {*names} <= {*folder}:
            raise ModelError(
                f"teacher {teacher.name} has {as_count(teacher.num_outputs, 'output')}, and {old.path} "
                f"keeps {as_count(len(names), 'class')}, all that its teachers know; name a teacher of "
                "the same classes"
            )
    return teachers
