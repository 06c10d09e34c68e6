"""Make the store of a run, or go on with one, and keep other labellers out of it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from fkd.amounts import as_count
from fkd.config import LabelConfig, size_text
from fkd.errors import ImagesError, ModelError, StoreError
from fkd.format import (
    OTHER_OUTPUTS,
    StoreSpec,
    TargetRecord,
    TeacherRecord,
    check_replaceable,
    library_versions,
    now,
    plan_layout,
)
from fkd.images import ImageList, fingerprint, read_titles
from fkd.labelling.growing import MatchedImages, grow, match, refuse_missing
from fkd.labelling.learning import learned
from fkd.labelling.processes import Ranks
from fkd.labelling.truth import other_classes_words
from fkd.machine import held
from fkd.originals import drift, probe, probe_formats
from fkd.progress import note, note_once
from fkd.store import (
    LabelStore,
)
from fkd.teachers import Ensemble, load_teachers
from fkd.truth import Masks, Texts, Truth
from fkd.vectors import Constants
from fkd.views import RENDERER, SAMPLER, SAMPLERS, stand_elsewhere


def new_spec(
    config: LabelConfig, images: ImageList, teachers: Ensemble, truth: Truth | None = None
) -> StoreSpec:
    """Return the spec of a run's store: what a reader needs to read it, or to refuse it.

    The images' `truth` is in the numbers of the labels' classes.
    """
    first = teachers.teachers[0].preprocessing
    _titles(
        config, teachers.classes.names
    )  # names that do not fit are refused before the first look
    spec = StoreSpec(
        num_images=len(images),
        num_crops=config.crops,
        num_classes=len(teachers.classes.names),
        scheme=config.kept,
        views=config.views,
        sampler=SAMPLER,
        renderer=RENDERER,
        probe=probe(first.interpolation),
        probes=probe_formats(images.paths),
        size=first.size,
        interpolation=first.interpolation,
        temperature=config.temperature,
        amp=config.engine.amp,
        teachers=tuple(
            TeacherRecord(t.name, t.weights_hash, t.outputs_hash, t.preprocessing)
            for t in teachers.teachers
        ),
        images_root=str(images.root),
        fingerprint=fingerprint(images.paths, images.num_bytes),
        versions=library_versions(),
        created=now(),
        part=not config.part.takes_all,
        unlabelled=images.unlabelled,
        grid=teachers.grid if config.kept.kind != "none" else (),
        masks=isinstance(truth, Masks),
        texts=isinstance(truth, Texts),
        targets=tuple(
            TargetRecord(t.name, t.layer, t.pool, t.keep, teachers.shapes[t.name])
            for t in config.targets
        ),
    )
    require_one_padding(spec)
    return plan_layout(spec, config.block_images)


def require_one_padding(spec: StoreSpec) -> None:
    """Raise `ModelError` for grids of several teachers, in whose padded views crops stand elsewhere."""
    for teacher in spec.teachers if spec.grid and spec.views.fit == "pad" else ():
        size = teacher.preprocessing.size
        if stand_elsewhere(spec.size, size, spec.grid):
            raise ModelError(
                f"teacher {teacher.name} sees {size_text(size)} px, and labels lie on padded views "
                f"of {size_text(spec.size)} px, which have their padding elsewhere; give it a --size of "
                "that proportion"
            )


def begins_anew(config: LabelConfig) -> bool:
    """Return whether a run makes its store; raises `StoreError` where it would replace no store."""
    if not os.path.lexists(config.out):
        return True
    if config.overwrite:
        check_replaceable(config.out)
    return config.overwrite


def teachers_of(
    config: LabelConfig,
    listed: ImageList,
    images: ImageList,
    device: torch.device,
    truth: Truth | None = None,
) -> Ensemble:
    """Load the teachers of a run on `images`, which are all `listed` ones or a part of them.

    Those that say maps or lines are matched to the classes of their `truth`, where these have names.
    """
    folder = None if listed.unlabelled else listed.classes
    only = None if config.part.classes is None else images.classes
    labels = config.kept.kind != "none"
    teachers = load_teachers(
        config.teachers,
        folder,
        device,
        config.engine,
        only=only,
        truth_classes=None if truth is None else truth.classes,
        targets=config.targets,
        labels=labels,
        grid=config.map_stride,
    )
    if teachers.classifies and not labels and not all(target.layer for target in config.targets):
        (teacher,) = teachers.teachers
        note_once(
            f"teacher {teacher.name} is a classifier, and its {as_count(teacher.num_outputs, 'logit')} "
            "are kept as a vector; --compress none --features features keeps what they are made of"
        )
    return teachers


@contextmanager
def held_store(
    config: LabelConfig,
    ranks: Ranks,
    spec: StoreSpec,
    listed: ImageList,
    images: ImageList,
    teachers: Ensemble,
) -> Iterator[tuple[LabelStore, MatchedImages]]:
    """Create, open or grow the store on the leading rank, and keep other labellers away from it.

    Yields it with its images, in its order.
    """
    names = teachers.classes.names
    if not ranks.leads:
        ranks.once("created", lambda: None)
        store = LabelStore.open(config.out, writable=True)
        # Another machine may have other images, or other weights, in the same place.
        matched = require_same_labelling(config, store, spec, listed, images, names)
        if len(matched.added):
            raise ImagesError(
                f"{matched.added.name(0)} is not there on the machine that leads; give all machines the "
                "same images"
            )
        yield store, matched
        return
    _create(config, spec, images, teachers)
    store = LabelStore.open(config.out, writable=True)
    store.require_lists()
    require_same_labelling(config, store, spec, listed, images, names)
    changed = drift(store.spec, config.out)
    if changed:
        note(f"warning: {changed}; --overwrite labels all images anew")
    with locked(config):
        store = LabelStore.open(config.out, writable=True)
        matched = match(config, store, listed, images)
        refuse_missing(config, store, matched)
        store = grow(config, store, matched.added, teachers.classes.target_of)
        matched = match(config, store, listed, images) if len(matched.added) else matched
        ranks.once("created", lambda: None)
        yield store, matched


def _create(config: LabelConfig, spec: StoreSpec, images: ImageList, teachers: Ensemble) -> None:
    """Make the store where there is none; with `--overwrite`, replace one that is idle."""
    if not os.path.lexists(config.out):
        create_store(config, spec, images, teachers)
    elif config.overwrite:
        check_replaceable(config.out)
        with locked(config):
            create_store(config, spec, images, teachers, overwrite=True)


def create_store(
    config: LabelConfig,
    spec: StoreSpec,
    images: ImageList,
    teachers: Ensemble,
    *,
    overwrite: bool = False,
    constants: Mapping[str, Constants] | None = None,
) -> LabelStore:
    """Create the empty store of a run, with the classes of its images, if they have any.

    What schemes of vectors have learned are the `constants`, or is learned now.
    """
    classes = teachers.classes
    if constants is None:
        constants = learned(config, images, teachers, spec)
    return LabelStore.create(
        config.out,
        spec,
        images,
        None if images.unlabelled else classes.target_of[images.targets],
        classes.names,
        class_titles=_titles(config, classes.names),
        constants=constants,
        overwrite=overwrite,
    )


def _titles(config: LabelConfig, names: Sequence[str]) -> tuple[str, ...]:
    if config.class_names is None:
        return ()
    # Of a teacher's thousand classes, people name those that they care for.
    return read_titles(config.class_names, names, some=config.unlabelled)


def locked(config: LabelConfig) -> AbstractContextManager[None]:
    """Keep other labellers away from a store; raises `StoreError` where one is at work on it."""
    busy = StoreError(
        f"another `fkd label` is at work on {config.out}; wait for it or stop it, or start all "
        "processes of one run with torchrun"
    )
    return held(config.out / "zarr.json", busy, "fkd label")


def refuse_nested(out: Path, root: Path) -> None:
    """Refuse a store inside the image folder, where it would be taken for a class, or around it."""
    real, images = out.resolve(), root.resolve()
    if real.is_relative_to(images) or images.is_relative_to(real):
        where = "inside" if real.is_relative_to(images) else "around"
        raise StoreError(
            f"--out {out} lies {where} the image folder {root}; name a place beside it with --out"
        )


def refuse_other_images(config: LabelConfig, listed: ImageList, images: ImageList) -> None:
    """Refuse to go on with a store of other images, before any teacher is loaded."""
    if os.path.lexists(config.out) and not config.overwrite:
        store = LabelStore.open(config.out)
        if store.spec.unlabelled == images.unlabelled:
            match(config, store, listed, images)


def require_same_labelling(
    config: LabelConfig,
    store: LabelStore,
    spec: StoreSpec,
    listed: ImageList,
    images: ImageList,
    names: Sequence[str],
) -> MatchedImages:
    """Return the images of the store; refuse others, and settings that are not the store's.

    `names` are the classes of the teachers, which `spec` knows by a hash alone.
    """
    root = store.segments[0].spec
    alike = spec.unlabelled == root.unlabelled
    matched = match(config, store, listed, images) if alike else None
    # What was added to a store, and what is added to it now, is laid out by the store's first segment.
    sizes = replace(spec, num_images=root.num_images, num_crops=root.num_crops)
    spec = plan_layout(sizes, config.block_images)
    if root.sampler in SAMPLERS:  # a store is continued by the rule that it was begun with
        spec = replace(spec, sampler=root.sampler)
    difference = root.first_difference(spec) or _other_titles(config, store)
    if difference == OTHER_OUTPUTS:
        difference = other_classes_words(store, spec, names)
    if difference or matched is None:
        raise StoreError(
            f"{config.out} was made with other settings: {difference}; "
            "use the same settings to continue it, --out for another store or --overwrite to start anew"
        )
    return matched


def _other_titles(config: LabelConfig, store: LabelStore) -> str | None:
    """Say that --class-names gives the store's classes other titles than it has, or return None."""
    if config.class_names is None or _titles(config, store.class_names()) == store.class_titles():
        return None
    return (
        f"--class-names {config.class_names} has other names than the store (leave it out to go on)"
    )
