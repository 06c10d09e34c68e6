"""The store of an import: its spec, and the store made, or gone on with, while no other import has it."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fkd.amounts import as_count
from fkd.config import Preprocessing, Scheme, TeacherChoice, ViewPolicy
from fkd.errors import ConfigError, ImagesError, StoreError
from fkd.exchanging.inputs import names_by_id
from fkd.exchanging.joint import Traits
from fkd.format import (
    StoreSpec,
    TeacherRecord,
    check_replaceable,
    library_versions,
    now,
    plan_layout,
)
from fkd.images import ImageList, changed_image, fingerprint, read_titles
from fkd.machine import held
from fkd.orders import ImportConfig
from fkd.originals import probe, probe_formats
from fkd.store import LabelStore
from fkd.teachers import ClassMap, map_classes
from fkd.views import RENDERER, STORED

MADE_BY = "import"


@dataclass(frozen=True)
class Plan:
    """What an import makes of which labels: the spec of its store, and its classes."""

    traits: Traits
    spec: StoreSpec
    classes: ClassMap
    titles: tuple[str, ...]

    def targets(self, images: ImageList) -> NDArray[np.int64]:
        """Return the class of each image, int64 [N]."""
        return self.classes.target_of[images.targets]


def plan_import(config: ImportConfig, images: ImageList, found: Traits) -> Plan:
    """Settle what is made; raises `ConfigError` where the labels do not hold what is asked for."""
    classes = _classes_of(config, images, found)
    traits = replace(found, num_crops=_num_crops(config, found), num_classes=len(classes.names))
    titles: tuple[str, ...] = ()
    if config.class_names is not None:
        titles = read_titles(config.class_names, classes.names)
    return Plan(traits, _spec(config, images, traits, classes), classes, titles)


def _spec(config: ImportConfig, images: ImageList, traits: Traits, classes: ClassMap) -> StoreSpec:
    seen = Preprocessing(config.size, interpolation=config.interpolation)
    # Files do not say which weights it was; a hash that is none never equals a model's.
    teacher = TeacherRecord(config.teacher, "unknown", classes.outputs_hash(), seen)
    spec = StoreSpec(
        num_images=len(images),
        num_crops=traits.num_crops,
        num_classes=len(classes.names),
        scheme=_scheme(config, traits),
        views=ViewPolicy(),
        sampler=STORED,
        renderer=RENDERER,
        probe=probe(config.interpolation),
        probes=probe_formats(images.paths),
        size=config.size,
        interpolation=config.interpolation,
        temperature=1.0,
        teachers=(teacher,),
        images_root=str(images.root),
        fingerprint=fingerprint(images.paths, images.num_bytes),
        versions=library_versions(),
        created=now(),
        made_by=MADE_BY,
    )
    return plan_layout(spec)


def _classes_of(config: ImportConfig, images: ImageList, found: Traits) -> ClassMap:
    """Return the class of each id: as a file names them, or the class folders in order."""
    count, file = found.num_classes, config.classes_file
    if file is not None:
        named = len(names_by_id(file))
        if count not in (None, named):
            raise ConfigError(
                f"--teacher-classes {file} has {named:,} names, and the labels are over {count:,} "
                "classes; give one name per class id, in order"
            )
        choice = TeacherChoice(config.teacher, classes_file=file, all_classes=True)
        return map_classes(images.classes, named, choice)
    if count not in (None, len(images.classes)):
        raise ConfigError(
            f"the labels are over {count:,} classes, and {images.root} has {len(images.classes):,}; give "
            "--teacher-classes FILE with one class name per class id, in order"
        )
    return map_classes(images.classes, len(images.classes), TeacherChoice(config.teacher))


def _num_crops(config: ImportConfig, found: Traits) -> int:
    if config.num_crops is None:
        return found.num_crops
    if config.num_crops > found.num_crops:
        raise ConfigError(
            f"--crops {config.num_crops} is more than the {as_count(found.num_crops, 'crop')} of "
            f"{config.labels}; leave it out for all"
        )
    return config.num_crops


def _scheme(config: ImportConfig, traits: Traits) -> Scheme:
    """Return what is kept: as asked for, or all that the labels say."""
    wanted = config.scheme or traits.scheme
    if not traits.scheme.can_be_read_as(wanted.reading):
        raise ConfigError(
            f"--compress {wanted} asks for more than {traits.kind} labels say, which can be kept as "
            f"{traits.scheme.readings()}; leave it out to keep all"
        )
    if wanted.deviation and traits.scheme.kind != "full":
        raise ConfigError(
            f"--compress {wanted}: {traits.kind} labels do not tell the deviation of the teacher's "
            f"logits; choose {wanted.without_deviation}"
        )
    return wanted


@contextmanager
def held_store(config: ImportConfig, plan: Plan, images: ImageList) -> Iterator[LabelStore]:
    """Create the store, or open the one of an earlier run, and keep other imports away from it."""
    if not os.path.lexists(config.out):
        _create(config, plan, images)
    elif config.overwrite:
        check_replaceable(config.out)
        with _locked(config):
            _create(config, plan, images, overwrite=True)
    store = LabelStore.open(config.out, writable=True)
    store.require_lists()
    _refuse_another(config, plan, store, images)
    with _locked(config):
        yield LabelStore.open(config.out, writable=True)


def _create(
    config: ImportConfig, plan: Plan, images: ImageList, *, overwrite: bool = False
) -> None:
    LabelStore.create(
        config.out,
        plan.spec,
        images,
        plan.targets(images),
        plan.classes.names,
        class_titles=plan.titles,
        overwrite=overwrite,
    )


def _locked(config: ImportConfig) -> AbstractContextManager[None]:
    busy = StoreError(f"another `fkd import` is at work on {config.out}; wait for it or stop it")
    return held(config.out / "zarr.json", busy, "fkd import")


def _refuse_another(config: ImportConfig, plan: Plan, store: LabelStore, images: ImageList) -> None:
    """Refuse a store of other images or other settings than those of this import."""
    if store.spec.made_by != MADE_BY:
        raise StoreError(
            f"{config.out} was not made by `fkd import`; name another place with --out, or start anew "
            "with --overwrite"
        )
    if store.spec.fingerprint != plan.spec.fingerprint:
        changed = changed_image(store.image_paths(), store.num_bytes(), images)
        raise ImagesError(
            f"{config.out} was made from other images than {images.root} holds now: {changed}; restore "
            "them, or use --out for another store or --overwrite to start anew"
        )
    difference = store.spec.first_difference(plan.spec)
    if difference:
        raise StoreError(
            f"{config.out} was made with other settings: {difference}; use the same settings to continue "
            "it, --out for another store or --overwrite to start anew"
        )
