"""Online distillation: the teacher labels every batch while the student trains on it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from fkd import LabelStore, TrainConfig, train_student
from fkd.images import ImageList, decode
from fkd.labels import GridLabels, SoftLabels
from fkd.loader import StudentBatch
from fkd.store import StoredMixes, Toning
from fkd.teachers import Teacher
from fkd.training import Learner
from fkd.views import Boxes, Flips, Mixes, blend_views, empty_views, render


class OnlineLearner(Learner):
    """Learns from what the teacher says of a batch now; what the store says of it is not read."""

    def __init__(self, teacher: Teacher, *course: Any) -> None:
        """Take a teacher on the student's device, and what a `Learner` takes."""
        super().__init__(*course)
        self._teacher = teacher

    def labels(
        self, batch: StudentBatch, rows: slice, targets: Tensor, temperature: float
    ) -> SoftLabels | GridLabels:
        """Ask the teacher; `targets` are not looked at."""
        views = self.asked_of(batch, rows)
        probs = self._teacher.probs(views, len(views), temperature).clone()  # for autograd
        said = SoftLabels(None, probs, probs.new_zeros(len(probs)), probs.shape[1])
        return GridLabels(said, self._teacher.grid) if self._teacher.grid else said

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
        self._mixes, self._toning = StoredMixes.of_store(store), Toning.of_store(store)

    def asked_of(self, batch: StudentBatch, rows: slice) -> Tensor:
        """Return the same crops as views of the teacher's size, mixed as the student's are."""
        crops = list(zip(batch.image_index[rows], batch.crop_index[rows], strict=True))
        views = empty_views(len(crops), self._seen.size)
        for (image, crop), view in zip(crops, views, strict=True):
            self._render(
                image, crop, self._crops.box[image, crop], self._crops.flip[image, crop], view
            )
            if self._mixes is not None:
                self._mix(self._mixes.of(np.array([image]), np.array([crop]))[0], crop, view)
        return views.to(self.device)

    def _mix(self, mix: Mixes, crop: int, view: Tensor) -> None:
        """Mix a view with its partner's."""
        if mix.mixed[0]:
            (other,) = empty_views(1, self._seen.size)
            self._render(int(mix.image[0]), crop, mix.box[0], mix.flip[0], other)
            blend_views([view], [other], mix)

    def _render(self, image: int, crop: int, box: Boxes, flip: Flips, view: Tensor) -> None:
        pixels = decode(self._images.name(int(image)))
        render(pixels, box, bool(flip), view, self._seen.interpolation)
        self._toning.change([view], np.array([image]), np.array([crop]))


def train_online(config: TrainConfig, teacher: Teacher, images: ImageList | None = None) -> None:
    """Train as `fkd train` does, on the same views in the same order, with the teacher in the loop.

    With `images`, the store's, the student's views may have another size than the teacher's.
    """
    learner: Callable[..., OnlineLearner] = partial(OnlineLearner, teacher)
    if images is not None and str(config.size or "") not in ("", str(teacher.preprocessing.size)):
        learner = partial(TwoSizesLearner, teacher, images, LabelStore.open(config.store))
    train_student(config, learner=learner)
