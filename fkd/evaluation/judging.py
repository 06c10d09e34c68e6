"""By what a run judges its student: what it learned, be it classes, maps, lines or features."""

from contextlib import suppress
from dataclasses import asdict, dataclass

import torch
from torch import nn

from fkd.evaluation.classes import Accuracy, evaluate
from fkd.evaluation.features import Features, gather_features
from fkd.evaluation.lines import LineAccuracy, evaluate_lines
from fkd.evaluation.maps import MapAccuracy, evaluate_maps
from fkd.images import ImageList
from fkd.probing import knn_top1
from fkd.students import StudentCard, feature_layer
from fkd.truth import Masks, Truth

K = 20  # neighbours, as Wu et al. and those after them have it in small data sets


@dataclass(frozen=True)
class NeighbourAccuracy:
    """The share in [0, 1] of `num_images` images whose class their nearest neighbours vote for.

    The `num_unusable` images that cannot be decoded count as missed, and are nobody's neighbours.
    """

    knn: float
    num_images: int
    num_unusable: int

    @property
    def score(self) -> float:
        """By what the best of several is chosen: the share that is right."""
        return self.knn

    @property
    def numbers(self) -> dict[str, float]:
        """Its numbers by their names in metrics."""
        return asdict(self)

    def __str__(self) -> str:
        return f"kNN {self.knn:.2%}"


Judgement = Accuracy | NeighbourAccuracy | MapAccuracy | LineAccuracy


def judge(
    model: nn.Module,
    card: StudentCard,
    images: ImageList,
    batch_size: int,
    workers: int,
    *,
    truth: Truth | None = None,
    nested: bool = False,
) -> Judgement:
    """Evaluate a student by what it learned: top-1 of its classes or, without any, kNN of its features.

    With `truth` in the numbers of its classes it is mIoU of masks, or exact match of texts. Else `images`
    have class folders, for kNN of any names. Each image's 20 nearest neighbours are looked for among the
    other images, all where there are fewer.
    """
    if isinstance(truth, Masks):
        return evaluate_maps(model, card, images, truth, batch_size, workers, nested=nested)
    if truth is not None:
        return evaluate_lines(model, card, images, truth, batch_size, workers, nested=nested)
    if card.learned_classes:
        return evaluate(model, card, images, batch_size, workers, nested=nested)
    layer = feature_layer(model, card)
    seen = gather_features(model, card, images, batch_size, workers, layer=layer, nested=nested)
    seen.note_unusable("counted as missed")
    knn = _knn(seen, next(model.parameters()).device) if len(seen.vectors) > 1 else 0.0
    return NeighbourAccuracy(seen.share(knn), len(images), len(seen.errors))


def _knn(seen: Features, device: torch.device) -> float:
    """Return the share that is right; where a device has no room for the features, the CPU says it."""
    k = min(K, len(seen.vectors) - 1)
    with suppress(torch.OutOfMemoryError):
        there = seen.to(device)
        return knn_top1(there.vectors, there.classes, k=k)
    return knn_top1(seen.vectors, seen.classes, k=k)
