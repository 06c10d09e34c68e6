"""What a student answers to the centre views of images, batch by batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from fkd.config import sides_of
from fkd.errors import DecodeError
from fkd.images import ImageList
from fkd.machine import Download, device_memory, upload
from fkd.models import OUTPUT, Tapped, as_vectors, find_cubes_last, find_logits
from fkd.progress import progress_bar
from fkd.students import StudentCard
from fkd.truth import Masks
from fkd.views import EvaluationBatch, RenderPool, evaluation_batches, normalize

_WHO = "the student"

T = TypeVar("T")


@dataclass(frozen=True)
class Answers:
    """What a student says of the images of some `rows`, int64 [b], those that can be decoded.

    `logits` are f32 [b, C], and `features` f32 [b, D] where a layer was asked for, else None. All are on
    the CPU. `errors` say why the other images of the batch cannot be decoded.
    """

    rows: Tensor
    logits: Tensor
    features: Tensor | None = None
    errors: Sequence[DecodeError] = ()


def ask(
    model: nn.Module,
    card: StudentCard,
    images: ImageList,
    chosen: Tensor,
    batch_size: int,
    workers: int,
    *,
    layer: str | None = None,
    nested: bool = False,
) -> Iterator[Answers]:
    """Yield what `model` answers to the centre views of `chosen` images, int64 [n], as its `card` says.

    With `layer`, a submodule's name or "features" for the input of the last linear layer, it says what
    that layer says, too: of tokens [b, T, D] and of maps [b, D, h, w] the mean. `nested` is for
    a run that shows a bar of its own.
    """
    device = next(model.parameters()).device
    tapped = Tapped(model, [] if layer is None else [layer], _WHO)

    def asked(batch: EvaluationBatch, rows: Tensor) -> _Asked:
        views = upload(batch.views, device)
        coming = _answer(tapped, views, card, layer, cubes_last=cubes_last)
        return _Asked(rows, batch, coming)

    try:
        cubes_last = layer is not None and layer in _cubes_last(tapped, card, device)
        batches = each_batch(
            model, card, images, chosen, batch_size, workers, asked,
            nested=nested,
        )  # fmt: skip
        for each in a_batch_late(batches):
            yield each.answers()
    finally:
        tapped.remove()


def each_batch(  # noqa: PLR0913  which views, who is asked, and what is made of them
    model: nn.Module,
    card: StudentCard,
    images: ImageList,
    chosen: Tensor,
    batch_size: int,
    workers: int,
    use: Callable[[EvaluationBatch, Tensor], T],
    *,
    masks: Masks | None = None,
    nested: bool = False,
) -> Iterator[T]:
    """Yield what `use` makes of the centre views of `chosen` images, int64 [n], and of their numbers.

    Meanwhile `model`, which it may ask, is in eval mode. With `masks`, batches have those of the views.
    """
    was_training = model.training
    model.eval()
    try:
        with (
            device_memory(f"choose a --batch-size below {batch_size}"),
            RenderPool(workers, next(model.parameters()).device) as pool,
            progress_bar("evaluate", unit="image", total=len(chosen), nested=nested) as bar,
        ):
            parts = torch.split(chosen, batch_size)
            batches = evaluation_batches(
                pool, images, map(Tensor.tolist, parts), card.center_view, masks
            )
            for batch, rows in zip(batches, parts, strict=True):
                yield use(batch, rows)
                bar.update(len(rows))
    finally:
        model.train(was_training)


def a_batch_late(asked: Iterator[T]) -> Iterator[T]:
    """Yield what is asked of a GPU, batch by batch, once it has the next one to work on."""
    waiting: list[T] = []
    for one in asked:
        yield from waiting
        waiting = [one]
    yield from waiting


@dataclass(frozen=True)
class _Asked:
    """A batch that a student has, the `rows` of its images, and what it says of them on its way."""

    rows: Tensor
    batch: EvaluationBatch
    coming: Download

    def answers(self) -> Answers:
        """Wait for what it says."""
        said, there = self.coming.wait(), self.batch.usable
        features = said["features"][there] if "features" in said else None
        return Answers(self.rows[there], said["logits"][there], features, self.batch.errors)


@torch.inference_mode()
def _cubes_last(tapped: Tapped, card: StudentCard, device: torch.device) -> frozenset[str]:
    """Return what `find_cubes_last` does of a student, which stays in the mode that it was in."""
    was_training = tapped.model.training
    views = torch.zeros(2, 3, *sides_of(card.center_view.size), device=device)
    try:
        return find_cubes_last(tapped.eval(), views, _WHO)
    finally:
        tapped.train(was_training)


@torch.inference_mode()
def _answer(
    tapped: Tapped, views: Tensor, card: StudentCard, layer: str | None, *, cubes_last: bool
) -> Download:
    """Send for the logits of views, uint8 [B, 3, H, W], and for their features."""
    answer, said = tapped(as_seen(views, card))
    logits: Tensor = find_logits(answer, len(views), _WHO).float()
    if layer is None:
        return Download(logits=logits)
    what = f"{_WHO}, layer {layer},"
    found = logits if layer == OUTPUT else said[layer]
    sides = views.shape[2:]
    vectors = as_vectors(found, "auto", len(views), what, sides, cubes_last=cubes_last)
    features = vectors.mean(dim=(2, 3)) if vectors.dim() == 4 else vectors
    return Download(logits=logits, features=features.float())


def as_seen(views: Tensor, card: StudentCard) -> Tensor:
    """Return views, uint8 [B, 3, H, W], as a student sees them: normalised, in channels-last memory."""
    pixels = normalize(views, card.preprocessing.mean, card.preprocessing.std)
    return pixels.contiguous(memory_format=torch.channels_last)
