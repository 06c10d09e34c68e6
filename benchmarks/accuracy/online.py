"""Online distillation: the teacher labels every batch while the student trains on it."""

from functools import partial
from typing import Any

from torch import Tensor

from fkd import TrainConfig, train_student
from fkd.labels import SoftLabels
from fkd.loader import StudentBatch
from fkd.teachers import Teacher
from fkd.training import Learner


class OnlineLearner(Learner):
    """Learns from what the teacher says of a batch now; what the store says of it is not read."""

    def __init__(self, teacher: Teacher, *course: Any) -> None:
        """Take a teacher on the student's device, and what a `Learner` takes."""
        super().__init__(*course)
        self._teacher = teacher

    def labels(
        self, batch: StudentBatch, rows: slice, targets: Tensor, temperature: float
    ) -> SoftLabels:
        """Ask the teacher; `targets` are not looked at."""
        views = batch.views[rows]
        probs = self._teacher.probs(views, len(views), temperature).clone()  # for autograd
        return SoftLabels(None, probs, probs.new_zeros(len(probs)))


def train_online(config: TrainConfig, teacher: Teacher) -> None:
    """Train as `fkd train` does, on the same views in the same order, with the teacher in the loop."""
    train_student(config, learner=partial(OnlineLearner, teacher))
