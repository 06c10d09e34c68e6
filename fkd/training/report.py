"""What a run says of itself before its first step."""

from collections.abc import Iterator
from itertools import combinations, zip_longest
from pathlib import Path

import torch
from torch import nn

from fkd.amounts import as_count, as_large
from fkd.config import FEW_IMAGES, MUTUAL, STORE, TrainConfig, grid_text, is_line, size_text
from fkd.loader import Schedule
from fkd.models import shape_words
from fkd.originals import LabelledMasks
from fkd.training.course import Course
from fkd.training.learner import Learner
from fkd.training.micro_batches import views_at_a_time
from fkd.training.record import evaluation_steps
from fkd.truth import Masks

Lines = list[tuple[str, str]]

# Below so many steps the schedule of the learning rate has hardly a shape.
_FEW_STEPS = 10

# From so many epochs and parameters on, settings made for ImageNet are odd for few images.
_MANY_EPOCHS, _MANY_PARAMETERS = 100, 5e6


def opening_lines(
    course: Course, learner: Learner, run: Path, first: int, *, on_device: bool
) -> Lines:
    """Return what a run works with, a name and a text each.

    `first` steps have been made before; `on_device` says that the device renders, not threads.
    """
    config, schedule, num_ranks = course.config, course.schedule, course.group.num_ranks
    spec, threads = course.store.spec, as_count(config.workers, "thread")
    by = (
        f"decoded by {threads}, rendered by the device"
        if on_device
        else f"decoded and rendered by {threads}"
    )
    lines = [
        (
            "store",
            f"{config.store}: {_images(course)}, "
            f"{as_count(spec.num_classes, 'class')}, {as_count(spec.num_crops, 'crop')} an image",
        ),
        ("labels", _labels(course)),
        *_truth(course),
        *_vectors(course),
        ("images", str(course.taken.images.root)),
        *[("student", line) for line in _students(config, learner)],
        *([("loss", _loss(config))] if config.tells_parts else []),
        *_adapted(learner),
        ("views", _views(course)),
        ("device", _device(config, learner.device)),
        ("input", by),
    ]
    if num_ranks > 1:
        share = as_count(schedule.batch_size // num_ranks, "view")
        lines += [("processes", f"{num_ranks}, {share} of each step for each")]
    lines += [
        ("steps", f"{schedule.total_steps:,}, {_budget(config, schedule)}"),
        ("step", _step(config, schedule, learner.device)),
        ("rate", _rate(config)),
        ("val", _val(course)),
        ("run", str(run)),
    ]
    if first:
        epoch = schedule.epoch_at(first)
        lines += [
            ("goes on", f"from step {first:,} of {schedule.total_steps:,}, epoch {epoch:.4g}")
        ]
    return lines


def _images(course: Course) -> str:
    """Say how many images the run takes and, of a part, of how many."""
    taken, missing = len(course.taken.chosen), len(course.taken.missing)
    listed = course.store.spec.num_images
    gone = [f"{missing:,} more {'is' if missing == 1 else 'are'} missing"] if missing else []
    if not course.config.part.takes_all:
        beside = [str(course.config.part), *gone]
        return f"{taken:,} of {as_count(listed, 'image')} ({', '.join(beside)})"
    unusable = listed - taken - missing
    beside = [f"{unusable:,} more are unusable"] if unusable else []
    beside += gone
    return as_count(taken, "image") + (f" ({', '.join(beside)})" if beside else "")


def _labels(course: Course) -> str:
    """Say how labels are read: what is asked for, of what is kept."""
    if not course.store.spec.labels.there:
        return "none, but vectors"
    if not any(term.to == STORE for term in course.config.objective.terms):
        return "not read: no term of the loss is to the store"
    wanted, stored = course.config.reading, course.store.spec.scheme
    classes, tempered = course.store.spec.num_classes, course.config.label_temperature
    text = f"read as {wanted}" if wanted == stored else f"read as {wanted} from the stored {stored}"
    if course.store.spec.grid:
        positions = "frames" if is_line(course.store.spec.grid) else "cells"
        text += f", of {grid_text(course.store.spec.grid)} {positions}"
    if wanted.kind == "topk" and wanted.k >= classes:
        text += f": all {as_count(classes, 'class')}"
    return text if tempered == 1 else f"{text}, at temperature {tempered:g}"


def _vectors(course: Course) -> Lines:
    """Say which vectors are read, and how they are kept."""
    targets = dict.fromkeys(term.target for term in course.config.objective.terms if term.target)
    kept = [course.store.spec.vectors[name] for name in targets]
    return [
        ("vectors", f"{one.name}: {shape_words(one.shape)}, kept as {one.scheme}") for one in kept
    ]


def _adapted(learner: Learner) -> Lines:
    """Say what is trained beside the students, and stays behind."""
    return [
        ("adapted", f"{network.prefix}{link.layer or 'output'} to {link.to}: {adaptor}")
        for network in learner.students.values()
        for link, adaptor in network.adapted.items()
        if adaptor.learns
    ]


def _students(config: TrainConfig, learner: Learner) -> Iterator[str]:
    """Say what each student is; the name of one that is alone says no more than its model."""
    weights = {None: "random weights", "none": "random weights", "default": "its library's weights"}
    for choice in config.students:
        count = as_large(_num_parameters(learner.students[choice.name].student))
        begins = weights.get(choice.init, choice.init)
        named = "" if isinstance(config.student, str) else f"{choice.name}: "
        yield f"{named}{choice.model}, {count} parameters, begins with {begins}"


def _loss(config: TrainConfig) -> str:
    """Say the terms of the loss, of which several students have one that is not said."""
    if isinstance(config.objective.loss, tuple):
        return "; ".join(map(str, config.objective.loss))
    return f"as a single student's, {config.objective.loss} to store; and {MUTUAL}"


def _views(course: Course) -> str:
    """Say how large views are, from which step on, and where the teacher saw others."""
    spec, sizes = course.store.spec, course.sizes
    size = f"{sizes}, {sizes.interpolation}"
    teacher = f"{size_text(spec.size)} px, {spec.interpolation}"
    text = size if size == teacher else f"{size} (the teacher saw {teacher})"
    toned = [] if spec.views.tone.plain else [f"toned as the teacher saw them: {spec.views.tone}"]
    mixed = [_mixed(course)] if spec.mixes else []
    return "; ".join([text, *spec.views.manner, *toned, *mixed])


def _mixed(course: Course) -> str:
    """Say how views are mixed."""
    policy = course.store.spec.views.mix
    return (
        f"mixed as the teacher saw them: {policy}" if policy.mixes else "mixed as they were stored"
    )


def _num_parameters(student: nn.Module) -> int:
    return sum(p.numel() for p in student.parameters())


def _device(config: TrainConfig, device: torch.device) -> str:
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    precision = "float32" if config.engine.amp == "off" else config.engine.amp
    return f"{device}{name}, {precision}" + (", compiled" if config.engine.compile else "")


def _budget(config: TrainConfig, schedule: Schedule) -> str:
    epochs, images = as_count(config.epochs, "epoch"), as_count(schedule.num_images, "image")
    return f"{epochs} of {images}, {as_count(schedule.batch_size, 'view')} a step"


def _step(config: TrainConfig, schedule: Schedule, device: torch.device) -> str:
    m = schedule.crops_per_image
    text = f"{as_count(schedule.images_per_batch, 'image')} decoded, {as_count(m, 'crop')} of each"
    if m > 1:
        text += f"; a pass over the images counts {m} epochs"
    return f"{text}; at most {as_count(views_at_a_time(config, device), 'view')} at a time in the student"


def _rate(config: TrainConfig) -> str:
    optim, batch = config.optim, config.batch_size
    text = f"{optim.optimizer}, lr {optim.lr:g} × {batch}/1024 = {optim.lr * batch / 1024:.4g}"
    text += f", {optim.lr_schedule}" + (f" to {optim.min_lr:g}" if optim.min_lr else "")
    if optim.warmup_epochs:
        text += f", {as_count(optim.warmup_epochs, 'warm-up epoch')}"
    return text


def _truth(course: Course) -> Lines:
    """Say where masks or texts are, and which of the run's texts count for nothing."""
    if isinstance(course.truth, LabelledMasks):
        return [("truth", f"masks in {course.truth.masks.folder}")]
    texts = course.texts
    if texts is None:
        return []
    strange = f", of which {texts.num_strange:,} have characters that are no classes"
    said = f"{as_count(len(texts), 'text')} in {texts.file}{strange if texts.num_strange else ''}"
    return [("truth", said)]


def _val(course: Course) -> str:
    if course.val is None:
        return "none; best.pt is the checkpoint with the least training loss"
    times = as_count(len(evaluation_steps(course.config, course.schedule)), "evaluation")
    outputs, classes = len(course.card.classes), len(course.val.classes)
    few, by = "", ", by kNN of features, since no loss is on classes"
    if isinstance(course.val_truth, Masks):
        by = f", by mIoU against the masks in {course.val_truth.folder}"
    elif course.val_truth is not None:
        by = f", by exact match with the texts in {course.val_truth.file}"
    elif course.card.learned_classes:
        few = f" of {classes:,} of the student's {outputs:,} classes" if classes < outputs else ""
        by = ""
    images = as_count(len(course.val), "image")
    return f"{course.val.root}: {images}{few}, {times} at {course.card.center_view}{by}"


def cautions(course: Course, learner: Learner) -> list[str]:
    """Name what a user hardly means: a run of a few steps, and settings for ImageNet on a few images."""
    config, schedule, said = course.config, course.schedule, []
    one_step = schedule.batch_size / schedule.num_images
    if schedule.total_steps < _FEW_STEPS or one_step > 1:
        steps = f"{as_count(schedule.total_steps, 'step')} in all: {_budget(config, schedule)}"
        each = f", so a step is {as_count(one_step, 'epoch')}" if one_step > 1 else ""
        said.append(f"warning: {steps}{each}; a smaller --batch-size gives more")
    if (
        config.epochs >= _MANY_EPOCHS
        and schedule.num_images < FEW_IMAGES
        and _num_parameters(learner.student) > _MANY_PARAMETERS
        and config.recipe == "fkd"
    ):
        said.append(
            f"{config.students[0].model} is trained as on ImageNet: {schedule.total_steps:,} steps, "
            f"{_budget(config, schedule)}; --recipe small has settings for a folder of this size"
        )
    for one, other in combinations(learner.students, 2):
        if _alike(learner.students[one].student, learner.students[other].student):
            said.append(
                f"warning: students {one} and {other} begin with the same weights and see the same "
                "views, so what they learn differs by chance at most; give one of them another init"
            )
    return said


def _alike(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip_longest(one.parameters(), other.parameters())
    return all(
        a is not None and b is not None and a.shape == b.shape and torch.equal(a, b)
        for a, b in pairs
    )


def first_step_words(course: Course) -> str:
    """Say what is done before the first step ends."""
    count = course.schedule.reach + 1
    batches = f"{as_count(count, 'batch')} of images {'is' if count == 1 else 'are'} decoded"
    compiled = ", and the student is compiled" if course.config.engine.compile else ""
    return f"the first step is on its way: {batches} for it{compiled}"
