"""All that is settled before the first step of a run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from fkd.amounts import as_count
from fkd.config import (
    Grid,
    NetworkInput,
    Size,
    StudentChoice,
    TrainConfig,
    grids_words,
    is_line,
    learns_classes,
    sides_of,
)
from fkd.errors import ConfigError, ImagesError
from fkd.images import ImageList
from fkd.loader import (
    Picks,
    RunImages,
    Schedule,
    SizePlan,
    StudentBatch,
    as_stored,
    missing_identity,
    open_store,
    plan_steps,
    read_vectors,
    run_images,
    select_crops,
    student_batches,
)
from fkd.machine import seeded
from fkd.models import OutputShape, is_function, output_shape, output_shape_without_data
from fkd.originals import LabelledTexts, LabelledTruth, find_labelled_truth
from fkd.progress import note
from fkd.runs import require_trackers
from fkd.store import LabelStore
from fkd.students import (
    StudentCard,
    build_student,
    find_lined_val,
    find_masked_val,
    find_val,
    give_weights,
    require_size,
    seen_otherwise,
    usual_view,
)
from fkd.training.comparing import comparisons
from fkd.training.inputs import (
    refuse_mixing,
    refuse_terms,
    refuse_without_classes,
    settled,
)
from fkd.training.learner import Learner
from fkd.training.micro_batches import views_at_a_time
from fkd.training.processes import Group
from fkd.truth import Texts, Truth
from fkd.views import RenderPool


@dataclass(frozen=True)
class Course:
    """What a run works with: all that is settled before the first step.

    `truth` is what lies beside the images that it takes, masks or texts, where a term looks at it.
    `val_truth` is that of the images that it is evaluated on, where students say maps or lines.
    """

    config: TrainConfig
    store: LabelStore
    taken: RunImages
    val: ImageList | None
    schedule: Schedule
    sizes: SizePlan
    picks: Picks | None
    cards: tuple[StudentCard, ...]
    group: Group
    truth: LabelledTruth | None = None
    val_truth: Truth | None = None

    @property
    def card(self) -> StudentCard:
        """The first student's, or the only one's."""
        return self.cards[0]

    @property
    def texts(self) -> Texts | None:
        """The texts of the images that it takes, and of no others; None where it looks at none."""
        if not isinstance(self.truth, LabelledTexts):
            return None
        return self.truth.texts.of(self.taken.images.take(self.taken.chosen))


def prepare(config: TrainConfig, group: Group) -> Course:
    """Open and check all that a run reads."""
    store = open_store(config)
    config = settled(as_stored(config, store), store)
    refuse_without_classes(config, store)
    refuse_terms(config, store)
    refuse_mixing(config, store)
    targets = dict.fromkeys(term.target for term in config.objective.terms if term.target)
    store, read = read_vectors(store, tuple(targets))
    group.once(lambda: require_trackers(config.log))
    taken = run_images(config, store)
    _require_same_missing(taken, group)
    masks = len(store.spec.grid) == 2 and config.looks_at_truth
    schedule = plan_steps(config, store, taken.chosen, group.num_ranks, masks=masks)
    sizes = SizePlan.of(config, store.spec, schedule, read)
    preprocessing = NetworkInput(sizes.last, config.mean, config.std, sizes.interpolation)
    grid = store.spec.grid
    view = seen_otherwise(usual_view(preprocessing, store), config.eval_size, config.eval_crop)
    titles = store.class_titles() if store.spec.class_title_bytes else None
    classes = store.class_names()
    cards = tuple(
        StudentCard(
            choice.model, classes, preprocessing, view, titles,
            learns_classes(config.objective.terms, choice.name), len(grid) == 2, is_line(grid),
        )
        for choice in config.students
    )  # fmt: skip
    known = classes if any(card.learned_classes for card in cards) else None
    val, val_truth = group.once(lambda: _find_val(config, taken.images, known, grid))
    picks = group.once(lambda: select_crops(config.selection, store, taken.chosen))
    truth = None
    if grid and config.looks_at_truth:
        truth = group.once(lambda: find_labelled_truth(store, taken.images))
    return Course(
        config, store, taken, val, schedule, sizes, picks, cards, group, truth, val_truth
    )  # fmt: skip


def _find_val(
    config: TrainConfig, images: ImageList, known: tuple[str, ...] | None, grid: Grid
) -> tuple[ImageList | None, Truth | None]:
    """Find what students of `known` classes are evaluated on: at positions by masks or texts alone."""
    if not grid:
        return find_val(config.val, images, known), None
    find = find_lined_val if is_line(grid) else find_masked_val
    found = None if known is None else find(config.val, images, known)
    return found or (None, None)


def _require_same_missing(taken: RunImages, group: Group) -> None:
    """Refuse a run whose processes, on several machines, would leave out other images each."""
    own = missing_identity(taken.missing)
    leading = group.once(lambda: own)
    if own != leading:
        raise ImagesError(
            f"--drop-missing: of the labelled images, {own} are missing in {taken.images.root} on one "
            f"machine, and {leading} on another; give all machines the same images"
        )


def course_batches(course: Course, pool: RenderPool, first_step: int) -> Iterator[StudentBatch]:
    """Return the batches of a run, this process's share of each, from a step on."""
    return student_batches(
        pool,
        course.store,
        course.taken.images,
        course.schedule,
        sizes=course.sizes,
        chosen=course.taken.chosen,
        picks=course.picks,
        truth=course.truth,
        first_step=first_step,
        rank=course.group.rank,
        num_ranks=course.group.num_ranks,
    )


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
            f"student {card.name} has {as_count(outputs.count, 'output')}, {config.store} has "
            f"{as_count(len(card.classes), 'class')}; its function gets the number of classes and must "
            "return a model with as many outputs"
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
        pixels, remedy = torch.zeros(num_views, 3, *sides_of(size)), "mend its function"
        if len(course.sizes.stages) > 1:
            remedy += ", or give one --size for the whole run"
        return output_shape(student.train(), pixels, what, remedy, learns=True)
    remedy = "choose another --student, a larger --batch-size or --micro-batch, or another --size"
    if len(course.sizes.stages) > 1:
        remedy += "; a student that is built for one size takes one --size for the whole run"
    return output_shape_without_data(student.train(), num_views, size, what, remedy)
