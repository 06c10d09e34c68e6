"""What a student's features tell of images, without its head."""

from contextlib import suppress
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

from fkd.errors import DecodeError, ImagesError
from fkd.images import ImageList
from fkd.models import FEATURES, OUTPUT
from fkd.probing import knn_top1
from fkd.progress import note
from fkd.students.answers import Answers, ask
from fkd.students.evaluation import Accuracy, Tally, evaluate
from fkd.students.line_evaluation import LineAccuracy, evaluate_lines
from fkd.students.map_evaluation import MapAccuracy, evaluate_maps
from fkd.students.student import StudentCard
from fkd.truth import Masks, Truth

K = 20  # neighbours, as Wu et al. and those after them have it in small data sets


@dataclass(frozen=True)
class Features:
    """Features f32 [n, D] of the images that can be decoded, and their classes int64 [n].

    Classes are positions in the images' own list. `errors` say why other images cannot be decoded.
    """

    vectors: Tensor
    classes: Tensor
    errors: tuple[DecodeError, ...] = ()

    def share(self, of_usable: float) -> float:
        """Return a share of all images, where unusable ones are missed."""
        return of_usable * len(self.vectors) / (len(self.vectors) + len(self.errors))

    def note_unusable(self, what: str) -> None:
        """Name the images that cannot be decoded on stderr, and say what becomes of them."""
        for error in self.errors:
            note(f"{what}: {error}")

    def to(self, device: torch.device) -> "Features":
        """Return the same on a device."""
        return replace(self, vectors=self.vectors.to(device), classes=self.classes.to(device))


def gather_features(
    model: nn.Module,
    card: StudentCard,
    images: ImageList,
    batch_size: int,
    workers: int,
    *,
    layer: str = FEATURES,
    tally: Tally | None = None,
    nested: bool = False,
) -> Features:
    """Return what a layer of `model` says of the centre views of all images, as `ask` asks for it.

    A `tally` counts the logits of the same pass. Raises `ImagesError` where no image can be decoded.
    """
    every, rows = torch.arange(len(images)), torch.zeros(len(images), dtype=torch.int64)
    vectors, count, errors = torch.empty(0), 0, list[DecodeError]()
    for said in ask(
        model, card, images, every, batch_size, workers,
        layer=layer, nested=nested,
    ):  # fmt: skip
        features = _features(said)
        errors += said.errors
        if not vectors.numel():
            vectors = features.new_empty(len(images), features.shape[1])
        there = slice(count, count := count + len(features))
        vectors[there], rows[there] = features, said.rows
        if tally is not None:
            tally.add(said)
    if not count:
        raise ImagesError(f"no image in {images.root} can be decoded; give others")
    classes = torch.from_numpy(images.targets)[rows[:count]]
    return Features(vectors[:count], classes, tuple(errors))


def _features(said: Answers) -> Tensor:
    assert said.features is not None
    return said.features


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


def feature_layer(model: nn.Module, card: StudentCard) -> str:
    """Return the layer that says the features where nobody names one: what goes into the head.

    Of a student that has no linear layer and has learned no classes, it is the output that learned.
    """
    linear = any(isinstance(module, nn.Linear) for module in model.modules())
    return FEATURES if linear or card.learned_classes else OUTPUT


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
