"""What a student's features tell of images, without its head."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fkd.errors import DecodeError, ImagesError
from fkd.evaluation.answers import Answers, ask
from fkd.evaluation.classes import Tally
from fkd.images import ImageList
from fkd.models import FEATURES
from fkd.progress import note
from fkd.students import StudentCard


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
