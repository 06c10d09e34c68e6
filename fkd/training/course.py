"""All that is settled before the first step of a run."""

from collections.abc import Iterator
from dataclasses import dataclass

from fkd.config import (
    Grid,
    NetworkInput,
    TrainConfig,
    is_line,
    learns_classes,
)
from fkd.errors import ImagesError
from fkd.evaluation import find_lined_val, find_masked_val, find_val
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
from fkd.originals import LabelledTexts, LabelledTruth, find_labelled_truth
from fkd.runs import require_trackers
from fkd.store import LabelStore
from fkd.students import StudentCard, seen_otherwise, usual_view
from fkd.training.inputs import (
    refuse_mixing,
    refuse_terms,
    refuse_without_classes,
    settled,
)
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
