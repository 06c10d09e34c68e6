"""A student whose loss falls while it evaluates like a guess: said once, with what may be the cause."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fkd.amounts import as_count
from fkd.config import STORE, TRUTH, terms_of
from fkd.evaluation import Accuracy, Judgement
from fkd.images import ImageList
from fkd.labels import SoftLabels, entropy
from fkd.loader import LabelSample, sample_labels, training_labels
from fkd.losses import term_losses
from fkd.progress import note
from fkd.students import CONVERGED
from fkd.training.batch_statistics import BatchStatistics
from fkd.training.course import Course
from fkd.training.learner import Learner

# The loss has fallen clearly below this share of what a student has that knows nothing of the images.
_FALLEN = 0.9

# What cannot be seen from here, and is named last.
_OTHERWISE = (
    "the evaluated images, whose classes may be others than their folders' names say, or whose pixels "
    "may be of another kind than those trained on; at --mean and --std, where --init has weights; at "
    "the temperatures of labels and loss; and at the number of images to learn from"
)


@dataclass(frozen=True)
class _Told:
    """What the store's labels tell: the loss of the best constant answer, and how often they are right.

    `agreement` is the share of `num_images` images' crops whose most likely class is their folder's, None
    where images have no classes or labels no most likely one.
    """

    constant_loss: float
    agreement: float | None
    num_images: int


class Suspicion:
    """Looks at the evaluations of a run, and warns once where they do not fit its loss."""

    def __init__(self, course: Course, learner: Learner, statistics: BatchStatistics) -> None:
        self._course, self._learner, self._statistics = course, learner, statistics
        self._told: _Told | None = None
        self._said = False

    def look_at(self, judged: Judgement, loss: float) -> None:
        """Warn where a student, or its moving average, is no better than chance though `loss` is low.

        One that is judged by its neighbours is not looked at: what that is by chance depends on k. Nor is
        one of maps, whose best guess, the commonest class, is right at many pixels.
        """
        val = self._course.val
        if self._said or val is None or not isinstance(judged, Accuracy):
            return
        chance = _chance(val)
        if not _like_a_guess(judged, chance):
            return
        self._told = self._told or _ask(self._course)
        if not loss < _FALLEN * self._told.constant_loss:
            return
        self._said = True
        causes = [*self._causes(val, self._told), _OTHERWISE]
        note(
            f"warning: the loss has fallen to {loss:.3g} ({self._told.constant_loss:.3g} would be "
            f"without looking at the images), but top-1 is {judged.top1:.1%} of "
            f"{as_count(judged.num_images, 'image')}, no better than chance ({chance:.1%}); look at "
            + "; at ".join(causes)
        )

    def _causes(self, val: ImageList, told: _Told) -> list[str]:
        """Name what is known to be so and would explain it."""
        course, average, causes = self._course, self._learner.ema, []
        share = self._statistics.initial_share("student" if average is None else "ema")
        if course.config.bn_stats == "running" and share > CONVERGED:
            causes.append(
                f"batch norm's running statistics, which still hold {share:.0%} of their initial "
                "values (--bn-stats auto estimates them)"
            )
        if average is not None and average.first_share > CONVERGED:
            causes.append(
                f"the moving average, which still holds {average.first_share:.0%} of the first step's "
                "weights (a smaller --ema follows the student sooner)"
            )
        chance = 1 / len(course.card.classes)
        if told.agreement is not None and told.agreement <= _most_by_chance(
            chance, told.num_images
        ):
            causes.append(
                f"the labels, whose most likely class is the image's own in {told.agreement:.1%} of the "
                "crops: the teacher's classes are in another order (`fkd label --teacher-classes`), or "
                "it does not know these images"
            )
        if not set(val.classes) <= set(course.card.classes):
            causes.append(
                f"the class folders of {val.root}, which are numbers and taken as positions among the "
                "store's classes"
            )
        return causes


def _chance(val: ImageList) -> float:
    """Return the largest top-1 that one answer for all images can have."""
    counts = [0] * len(val.classes)
    for target in val.targets.tolist():
        counts[target] += 1
    return max(counts) / max(1, len(val))


def _like_a_guess(judged: Accuracy, chance: float) -> bool:
    """Say whether top-1 is within three deviations of chance, where so many images can tell."""
    most = _most_by_chance(chance, judged.num_images)
    return judged.top1 <= most < (1 + chance) / 2


def _most_by_chance(share: float, count: int) -> float:
    return share + 3 * math.sqrt(share * (1 - share) / count)


def _ask(course: Course) -> _Told:
    """Read some of the store's labels, as the run reads them."""
    config, spec = course.config, course.store.spec
    sample, objective = sample_labels(course.store, course.taken.chosen), config.objective
    if not sample.num_images or not spec.labels.there:
        return _Told(0.0, 1.0, 1)
    labels = _labels(course, sample)
    agreement = None
    if not spec.unlabelled and spec.labels.keeps_first:
        right = spec.labels.restore(sample.kept).top_class == sample.targets
        agreement = float(right.double().mean())
    if isinstance(objective.loss, tuple):
        return _Told(_constant_terms(course, sample), agreement, sample.num_images)
    soft = _constant_loss(labels, spec.num_classes, kl=objective.loss == "kl")
    soft *= objective.student_temperature**2
    weights = (objective.hard_weight_at(0), objective.hard_weight_at(1))
    least = min((1 - weight) * soft + weight * math.log(spec.num_classes) for weight in weights)
    return _Told(least, agreement, sample.num_images)


def _constant_terms(course: Course, sample: LabelSample) -> float:
    """Return the mean loss, in explicit terms, of a student that answers all crops with their mean label.

    They are the first student's. Terms to peers are left out: of students that all answer so they are
    zero.
    """
    config, spec = course.config, course.store.spec

    def labels(temperature: float) -> SoftLabels:
        return _labels(course, sample, temperature)

    mean = _mean(labels(1.0), spec.num_classes)
    answer = mean.clamp(min=torch.finfo(mean.dtype).tiny).log().expand(len(sample.targets), -1)
    losses = []
    for done in (0.0, 1.0):
        own = terms_of(config.terms_at(done), config.students[0].name)
        terms = [each for each in own if each.term.to in (STORE, TRUTH)]
        losses.append(float(term_losses(answer, terms, labels, sample.targets).total.mean()))
    return min(losses)


def _labels(course: Course, sample: LabelSample, temperature: float | None = None) -> SoftLabels:
    """Return the labels of a sample as the run reads them; they are of views whose top-1 is looked at."""
    stored = course.store.spec.labels
    labels = training_labels(sample.kept, sample.targets, stored, course.config, temperature)
    assert isinstance(labels, SoftLabels)
    return labels


def _constant_loss(labels: SoftLabels, num_classes: int, *, kl: bool) -> float:
    """Return the least mean loss, in nats, of a student that answers all crops alike: with their mean."""
    mean = _mean(labels, num_classes)
    least = float(torch.special.entr(mean).sum())
    return least - float(entropy(labels, num_classes).mean()) if kl else least


def _mean(labels: SoftLabels, num_classes: int) -> Tensor:
    """Return the mean of labels, f32 [C]."""
    if labels.index is None:
        return labels.value.mean(dim=0)
    above = labels.value - labels.tail[:, None]
    total = labels.tail.sum().repeat(num_classes)
    return total.scatter_add(0, labels.index.flatten(), above.flatten()) / len(labels.value)
