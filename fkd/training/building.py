"""The students of a run are built, and what cannot take its views as they will come is refused."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from fkd.amounts import as_count
from fkd.config import Size, StudentChoice, TrainConfig, grids_words, is_line, sides_of
from fkd.errors import ConfigError
from fkd.machine import seeded
from fkd.models import OutputShape, is_function, output_shape, output_shape_without_data
from fkd.progress import note
from fkd.students import StudentCard, build_student, give_weights, require_size
from fkd.training.comparing import comparisons
from fkd.training.course import Course
from fkd.training.learner import Learner
from fkd.training.micro_batches import views_at_a_time
from fkd.truth import Texts


def build_learner(course: Course, device: torch.device, learner: Callable[..., Learner]) -> Learner:
    """Build the students, and refuse what cannot take the views as they will come."""
    built = [_build(course, number, device) for number in range(len(course.cards))]
    _require_apart(course.config, built)
    first, *peers = zip(course.cards, built, strict=True)
    labels = course.store.spec.labels
    sizes = [size for _, size in course.sizes.stages]
    compared = comparisons(course.config, course.store, sizes, course.cards, built)
    others: list[Any] = [peers] if peers or compared else []
    others += [compared] if compared else []
    return learner(course.config, course.card, labels, first[1], device, course.group, *others)


def _require_apart(config: TrainConfig, built: Sequence[nn.Module]) -> None:
    """Refuse students that have weights in common: a function may return the same model twice."""
    owner: dict[nn.Parameter, str] = {}
    for choice, student in zip(config.students, built, strict=True):
        for name, weight in student.named_parameters():
            if weight in owner and weight.requires_grad:
                raise ConfigError(
                    f"students {owner[weight]} and {choice.name} have {name} in common, and would both "
                    "move it; their function must make a model with weights of its own at every call"
                )
            owner[weight] = choice.name


def _build(course: Course, number: int, device: torch.device) -> nn.Module:
    """Build a student, and run it once at each size that it will see.

    The first begins as one alone does. Others have initial weights of their own: two that begin alike and
    see the same views would stay alike.
    """
    seed = course.config.seed
    key = np.random.SeedSequence(seed, spawn_key=(number,) if number else ())
    if number:
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0] >> np.uint64(1)))
    with seeded(key):
        return _built(course, course.cards[number], course.config.students[number], device)


def _built(
    course: Course, card: StudentCard, choice: StudentChoice, device: torch.device
) -> nn.Module:
    config = course.config
    student = build_student(card)
    if choice.init not in (None, "none"):
        give_weights(student, card, choice.init, average=choice.init_ema)
    views = config.batch_size // course.group.num_ranks
    fewest = views // -(-views // views_at_a_time(config, device))
    for size in sorted({size for _, size in course.sizes.stages}, key=sides_of, reverse=True):
        outputs = _output_shape(course, card, student, fewest, size)
        _require_kind(course, card, outputs)
    if outputs.count != len(card.classes):
        raise ConfigError(
            f"student {card.name} has {outputs.count} outputs, {config.store} has {len(card.classes)} "
            "classes; its function gets the number of classes and must return a model with as many "
            "outputs"
        )
    if card.center_view.size != course.sizes.last:  # `fkd export` writes it at this size, too
        require_size(student, card, card.center_view.size)
    if course.group.leads and course.texts is not None:
        _warn_of_long(course.texts, card, outputs)
    return student


def _warn_of_long(texts: Texts, card: StudentCard, outputs: OutputShape) -> None:
    """Say how many texts have more characters than a student's frames can say."""
    (num_frames,) = outputs.grid
    longer = texts.num_longer(num_frames)
    if longer:
        note(
            f"warning: {longer:,} of {as_count(len(texts), 'text')} need more than the {num_frames} "
            f"frames of student {card.name} and count for nothing; label wider views (--size "
            "HEIGHTxWIDTH), or take a student of more frames"
        )


def _require_kind(course: Course, card: StudentCard, outputs: OutputShape) -> None:
    """Refuse a student that says maps, lines or one label a view where the store holds other labels."""
    spec = course.store.spec
    to_vectors_alone = not spec.labels.there and not card.learned_classes
    if len(outputs.grid) == len(spec.grid) or to_vectors_alone:
        return
    remedy = "choose a student of one label"
    if spec.grid:
        wanted = "frames, classes" if is_line(spec.grid) else "classes, height, width"
        remedy = f"its function must return a model of logits [batch, {wanted}]"
    held = grids_words(spec.grid) if spec.labels.there else "vectors and no labels"
    says = outputs if outputs.grid else "one label a view"
    raise ConfigError(
        f"student {card.name} says {says}, and {course.config.store} holds {held}; {remedy}"
    )


def _output_shape(
    course: Course, card: StudentCard, student: nn.Module, num_views: int, size: Size
) -> OutputShape:
    """Run the student on a few views of a size, as it will be trained."""
    what = f"student {card.name}"
    if is_function(card.name):
        few = min(num_views, 16)  # a batch norm takes them as it takes more, and this is on the CPU
        pixels, remedy = torch.zeros(few, 3, *sides_of(size)), "mend its function"
        if len(course.sizes.stages) > 1:
            remedy += ", or give one --size for the whole run"
        return output_shape(student.train(), pixels, what, remedy, learns=True)
    remedy = "choose another --student, a larger --batch-size or --micro-batch, or another --size"
    if len(course.sizes.stages) > 1:
        remedy += "; a student that is built for one size takes one --size for the whole run"
    return output_shape_without_data(student.train(), num_views, size, what, remedy)
