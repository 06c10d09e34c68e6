"""Top-1, top-5 and loss of a student of classes, on images in class folders."""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from fkd.errors import ImagesError
from fkd.evaluation.answers import Answers, ask
from fkd.evaluation.images import match_classes
from fkd.images import ImageList
from fkd.progress import note
from fkd.students import StudentCard


@dataclass(frozen=True)
class Accuracy:
    """Shares in [0, 1] of `num_images` images, and their mean cross-entropy in nats.

    The `num_unusable` images that cannot be decoded count as missed, and are left out of the loss.
    """

    top1: float
    top5: float
    loss: float
    num_images: int
    num_unusable: int

    @property
    def score(self) -> float:
        """By what the best of several is chosen: top-1."""
        return self.top1

    @property
    def numbers(self) -> dict[str, float]:
        """Its numbers by their names in metrics."""
        return asdict(self)

    def __str__(self) -> str:
        return f"top-1 {self.top1:.2%}, top-5 {self.top5:.2%}"


def evaluate(
    model: nn.Module,
    card: StudentCard,
    images: ImageList,
    batch_size: int,
    workers: int,
    *,
    answers: NDArray[np.int64] | None = None,
    nested: bool = False,
) -> Accuracy:
    """Evaluate `model` on the centre views of images, prepared as its `card` says.

    Class folders are matched to the outputs by name. `answers`, int64 [N, A], are the outputs that count
    as right for each image, -1 for none; an image without any is left out. Without `answers` the class
    of its folder is right. Images that cannot be decoded are named on stderr and count as missed.
    `nested` is for a run that shows a bar of its own.
    """
    tally = Tally(images, card, answers)
    for said in ask(model, card, images, tally.chosen, batch_size, workers, nested=nested):
        for error in said.errors:
            note(f"counted as missed: {error}")
        tally.add(said)
    return tally.accuracy()


class Tally:
    """Hits and losses so far, of the `chosen` images, int64 [n]: those that have a right answer."""

    def __init__(
        self, images: ImageList, card: StudentCard, answers: NDArray[np.int64] | None = None
    ) -> None:
        """Match class folders to the outputs of a student; `answers` are as `evaluate` has them."""
        self._targets = torch.from_numpy(match_classes(images, card.classes)[images.targets])
        self._right = self._targets[:, None] if answers is None else torch.from_numpy(answers)
        self.chosen = torch.nonzero((self._right >= 0).any(dim=1))[:, 0]
        if not len(self.chosen):
            raise ImagesError(f"no image in {images.root} has a label that could be right")
        self._usable = self._in_top1 = self._in_top5 = 0
        self._loss = 0.0

    def add(self, said: Answers) -> None:
        """Count images by their logits [b, C]: classes for the loss, right outputs for the rest."""
        logits, targets, right = said.logits, self._targets[said.rows], self._right[said.rows]
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices
        hits = (best[:, :, None] == right[:, None, :]).any(dim=2)
        self._usable += len(logits)
        self._in_top1 += int(hits[:, 0].sum())
        self._in_top5 += int(hits.any(dim=1).sum())
        self._loss += float(functional.cross_entropy(logits, targets, reduction="sum"))

    def accuracy(self) -> Accuracy:
        """Return shares of all images, and the mean loss of the usable ones."""
        count = len(self.chosen)
        return Accuracy(
            self._in_top1 / count,
            self._in_top5 / count,
            self._loss / max(1, self._usable),
            count,
            count - self._usable,
        )
