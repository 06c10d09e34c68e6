"""A teacher that was a student: a run of `fkd train`, or one of its checkpoints."""

import os

import torch

from fkd.amounts import as_count
from fkd.config import NetworkInput, Preprocessing, TeacherChoice, sides_of
from fkd.errors import ModelError
from fkd.machine import place
from fkd.models import weights_hash
from fkd.students import Sidecar, announce_student
from fkd.teachers.output_names import OutputNames
from fkd.teachers.source import (
    Source,
    override,
    refuse_weights,
    try_on_views,
    usual_preprocessing,
)


def open_run(choice: TeacherChoice, device: torch.device) -> Source:
    """Open a run or a checkpoint, which says all: architecture, preprocessing, classes and weights."""
    refuse_weights(choice)
    try:
        card, student = announce_student(choice.name, ema=choice.ema, option="--teacher-ema")
    except ModelError as error:
        if not os.path.isfile(choice.name):
            raise ModelError(f"teacher {choice.name}: {error}") from error
        raise ModelError(
            f"teacher {choice.name}: no program, and {error}; weights alone go to --teacher-weights, "
            "with their model's name as --teacher"
        ) from error
    model = place(student.requires_grad_(False), device)
    preprocessing = override(_as_teachers(card.preprocessing), choice)
    outputs = try_on_views(model, choice, preprocessing.size, device, "choose another --size")
    if outputs.count != len(card.classes):
        raise ModelError(
            f"teacher {choice.name} has {as_count(outputs.count, 'output')} and "
            f"{as_count(len(card.classes), 'class')}; give another checkpoint"
        )
    return Source(
        model,
        preprocessing,
        weights_hash(model),
        outputs,
        min(sides_of(preprocessing.size)) if choice.size is None else None,
        names_of(Sidecar(card), choice),
        None if card.learned_classes else _UNLEARNED,
    )


_UNLEARNED = (
    "learned from vectors alone, so that its head has learned nothing; label with what "
    "`fkd export --without-head` writes of it"
)
_ONLY_FEATURES = (
    "was exported without its head, or learned no classes, so that it returns features; keep them as "
    "vectors (--compress int8), or give a student with classes"
)


def only_features(about: Sidecar | None) -> str | None:
    """Say what a program of `fkd export` returns where that is no logits of classes."""
    return None if about is None or about.features is None else _ONLY_FEATURES


def names_of(about: Sidecar | None, choice: TeacherChoice) -> OutputNames | None:
    """Return the classes that a student learned, if anything says so."""
    if about is None or about.features is not None:
        return None
    return OutputNames(about.card.classes, f"the classes of teacher {choice.name}")


def _as_teachers(seen: NetworkInput) -> Preprocessing:
    """Return the preprocessing of a student as a teacher's."""
    return Preprocessing(seen.size, seen.mean, seen.std, seen.interpolation)


def preprocessing_of(about: Sidecar | None, choice: TeacherChoice) -> Preprocessing:
    """Return what a program gets: of `fkd export`, pixels in [0, 1], which it normalises itself."""
    if about is None:
        return usual_preprocessing(choice)
    seen = about.card.preprocessing
    return Preprocessing(seen.size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), seen.interpolation)
