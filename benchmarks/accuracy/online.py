"""Online distillation: the teacher labels every batch while the student trains on it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from fkd import LabelStore, TrainConfig, train_student
from fkd.images import ImageList, decode
from fkd.labels import SoftLabels
from fkd.loader import StudentBatch
from fkd.teachers import Teacher
from fkd.training import Learner
from fkd.views import empty_views, render


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
        views = self.asked_of(batch, rows)
        probs = self._teacher.probs(views, len(views), temperature).clone()  # for autograd
        return SoftLabels(None, probs, probs.new_zeros(len(probs)))

    def asked_of(self, batch: StudentBatch, rows: slice) -> Tensor:
        """Return what the teacher looks at, u8 [b, 3, S, S]: the student's views."""
        return batch.views[rows]


class TwoSizesLearner(OnlineLearner):
    """Asks the teacher of the boxes that the student sees, rendered in the teacher's own size."""

    def __init__(
        self, teacher: Teacher, images: ImageList, store: LabelStore, *course: Any
    ) -> None:
        """Take the images and the store that the student's crops are of, too."""
        super().__init__(teacher, *course)
        self._images, self._seen = images, teacher.preprocessing
        self._crops = store.read_crops(range(store.spec.num_crops))

    def asked_of(self, batch: StudentBatch, rows: slice) -> Tensor:
        """Return the same crops as views of the teacher's size."""
        crops = list(zip(batch.image_index[rows], batch.crop_index[rows], strict=True))
        views = empty_views(len(crops), self._seen.size)
        for (image, crop), view in zip(crops, views, strict=True):
            box, flip = self._crops.box[image, crop], bool(self._crops.flip[image, crop])
            render(decode(self._images.name(int(image))), box, flip, view, self._seen.interpolation)
        return views.to(self.device)


def train_online(config: TrainConfig, teacher: Teacher, images: ImageList | None = None) -> None:
    """Train as `fkd train` does, on the same views in the same order, with the teacher in the loop.

    With `images`, the store's, the student's views may have another size than the teacher's.
    """
    learner: Callable[..., OnlineLearner] = partial(OnlineLearner, teacher)
    if images is not None and str(config.size or "") not in ("", str(teacher.preprocessing.size)):
        learner = partial(TwoSizesLearner, teacher, images, LabelStore.open(config.store))
    train_student(config, learner=learner)
