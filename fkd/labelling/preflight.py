"""Look before you leap: does the teacher know the images that it is about to label?

A wrong normalisation, a wrong order of classes or a wrong file still gives labels, and a GPU-week later
a useless store. A few centre crops tell at once.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from fkd.config import LabelConfig, Preprocessing, as_typed
from fkd.images import ImageList
from fkd.progress import note
from fkd.teachers import Ensemble, Teacher
from fkd.views import RenderPool, evaluation_batches

# Images that are looked at: a hundredth of the run's views, within these bounds.
_LEAST, _MOST = 64, 256
_BATCH = 32


@dataclass(frozen=True)
class SampleAccuracy:
    """How many of `count` centre crops a teacher assigns to their folder's class."""

    teacher: str
    hits: int
    count: int
    num_classes: int
    preprocessing: Preprocessing

    @property
    def top1(self) -> float:
        """Share of hits, in [0, 1]."""
        return self.hits / max(1, self.count)

    @property
    def near_chance(self) -> bool:
        """Whether guessing would do as well, within three standard deviations."""
        chance = 1 / self.num_classes
        return self.top1 <= chance + 3 * math.sqrt(chance * (1 - chance) / max(1, self.count))

    def __str__(self) -> str:
        mean, std = as_typed(self.preprocessing.mean), as_typed(self.preprocessing.std)
        text = (
            f"{self.teacher}: top-1 {self.top1:.1%} on {self.count} centre crops of "
            f"{self.preprocessing.size} px, {self.preprocessing.interpolation}, mean {mean}, std {std}"
        )
        if not self.near_chance:
            return text
        return (
            f"warning: {text}: no better than guessing among {self.num_classes} classes; "
            "check --teacher-weights, --teacher-classes, --mean, --std and --size"
        )


def check_teachers(teachers: Ensemble, images: ImageList, config: LabelConfig) -> None:
    """Print on stderr how well each teacher knows the folder's classes; warn where it guesses."""
    for choice, teacher in zip(config.teachers, teachers.teachers, strict=True):
        if choice.weights == "none":
            note(f"teacher {teacher.name} has random weights: its labels mean nothing")
        else:
            note(f"teacher {sample_accuracy(teacher, images, config)}")


def sample_accuracy(teacher: Teacher, images: ImageList, config: LabelConfig) -> SampleAccuracy:
    """Measure a teacher's top-1 on centre crops of images drawn from all over the folder.

    The sample is the same in every run, so that settings can be compared.
    """
    hundredth = len(images) * config.num_crops // 100
    count = min(_MOST, len(images), max(_LEAST, hundredth))
    chosen = np.random.default_rng(0).choice(len(images), count, replace=False).tolist()
    hits = seen = 0
    # Batches of these sizes come only here; compiling the teacher for them would take longer.
    with RenderPool(config.workers) as pool, torch.compiler.set_stance("force_eager"):
        for batch in evaluation_batches(pool, images, chosen, _BATCH, teacher.preprocessing):
            probs = teacher.probs(batch.views, len(batch.views), config.temperature)
            predicted = probs.argmax(1).cpu().numpy()
            wanted = teacher.class_map.target_of[batch.targets.numpy()]
            usable = batch.usable.numpy()
            hits += int((predicted == wanted)[usable].sum())
            seen += int(usable.sum())
    num_classes = len(teacher.class_map.names)
    return SampleAccuracy(teacher.name, hits, seen, num_classes, teacher.preprocessing)
