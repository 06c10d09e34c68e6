"""The teachers that a store records, loaded to be asked again."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from fkd.config import Engine, Target, TeacherChoice
from fkd.errors import ConfigError
from fkd.images import ImageList
from fkd.machine import device_memory
from fkd.store import LabelStore
from fkd.teachers import Ensemble, load_teachers


def load_recorded(
    store: LabelStore, images: ImageList, choices: Sequence[TeacherChoice], device: torch.device
) -> Ensemble:
    """Load teachers with the preprocessing that the store records; refuse those of other classes."""
    spec = store.spec
    if len(choices) != len(spec.teachers):
        names = ", ".join(record.name for record in spec.teachers)
        raise ConfigError(
            f"--teacher is given {len(choices)} times, {store.path} was labelled by "
            f"{len(spec.teachers)} ({names}); give it as often"
        )
    classes = store.class_names()
    # A store may be of some of the folder's classes.
    only = tuple(n for n in images.classes if n in set(classes)) if spec.part else images.classes
    all_classes = classes != only and not spec.unlabelled
    recorded = [
        replace(
            choice,
            all_classes=all_classes,
            size=record.preprocessing.size,
            mean=record.preprocessing.mean,
            std=record.preprocessing.std,
            interpolation=record.preprocessing.interpolation,
            output=record.output,
        )
        for choice, record in zip(choices, spec.teachers, strict=True)
    ]
    folder = None if spec.unlabelled else images.classes
    of_truth = classes if spec.truth else None
    targets = [Target(one.layer, one.keep, one.pool, one.name) for one in spec.targets]
    with device_memory("choose --device cpu"):
        teachers = load_teachers(
            recorded,
            folder,
            device,
            Engine(spec.amp),
            only=only,
            truth_classes=of_truth,
            targets=targets,
            labels=spec.labels.there,
            grid=spec.grid if spec.labels.there else None,
            again=True,
        )
    _refuse_other_shapes(store, teachers)
    if teachers.classes.names != classes:
        raise ConfigError(
            f"the teacher labels other classes than {store.path} holds; give the --teacher-classes that "
            "it was labelled with"
        )
    return Ensemble(teachers.teachers, spec.weights, grid=teachers.grid)


def _refuse_other_shapes(store: LabelStore, teachers: Ensemble) -> None:
    """Raise `ConfigError` for a teacher whose vectors are of another shape than those stored."""
    for record in store.spec.targets:
        shape = teachers.shapes[record.name]
        if shape != record.shape:
            raise ConfigError(
                f"the teacher's vectors {record.name} are of {list(shape)} numbers, those of "
                f"{store.path} of {list(record.shape)}; give the teacher that labelled it"
            )
