"""Exact match and character error rate of a student of lines, on images with texts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from fkd.errors import DecodeError
from fkd.images import ImageList
from fkd.losses import text_loss
from fkd.machine import upload
from fkd.models import find_logits
from fkd.progress import note
from fkd.students.answers import as_seen, each_batch
from fkd.students.student import StudentCard
from fkd.truth import ReadLines, Texts, read_off
from fkd.views import EvaluationBatch


@dataclass(frozen=True)
class LineAccuracy:
    """How right a student reads `num_images` lines, by the likeliest class of each frame.

    `exact_match` is the share of lines that are read as their text, character by character, and
    `character_error_rate` the number of characters to put in, leave out or change over all lines, divided
    by the number of all characters. `loss` is CTC, the mean over lines in nats a character, of the lines
    whose characters are all classes. The `num_unusable` images that cannot be decoded count as missed,
    and so does a line with another character.
    """

    exact_match: float
    character_error_rate: float
    loss: float
    num_images: int
    num_unusable: int

    @property
    def score(self) -> float:
        """By what the best of several is chosen: exact match."""
        return self.exact_match

    @property
    def numbers(self) -> dict[str, float]:
        """Its numbers by their names in metrics."""
        return asdict(self)

    def __str__(self) -> str:
        return f"exact match {self.exact_match:.2%}, character error rate {self.character_error_rate:.2%}"


def evaluate_lines(
    model: nn.Module,
    card: StudentCard,
    images: ImageList,
    texts: Texts,
    batch_size: int,
    workers: int,
    *,
    nested: bool = False,
) -> LineAccuracy:
    """Evaluate `model` on the evaluation views of images with `texts`, as its `card` says.

    Texts are in the numbers of its classes. Images that cannot be decoded are named on stderr. `nested`
    is for a run that shows a bar of its own.
    """
    tally = _Tally(card.classes, texts)

    def counted(batch: EvaluationBatch, rows: Tensor) -> Sequence[DecodeError]:
        there = batch.usable
        if there.any():
            tally.add(_answer(model, batch.views[there], card), rows[there].tolist())
        for row in rows[~there].tolist():
            tally.read.add(None, texts.text(row))
        return batch.errors

    num_unusable = 0
    for errors in each_batch(
        model, card, images, torch.arange(len(images)), batch_size, workers, counted,
        nested=nested,
    ):  # fmt: skip
        num_unusable += len(errors)
        for error in errors:
            note(f"counted as missed: {error}")
    return tally.accuracy(num_unusable)


@torch.inference_mode()
def _answer(model: nn.Module, views: Tensor, card: StudentCard) -> Tensor:
    """Return logits f32 [b, T, C] of views, uint8 [b, 3, H, W], on the CPU."""
    device = next(model.parameters()).device
    answer = model(as_seen(upload(views, device), card))
    logits: Tensor = find_logits(answer, len(views), f"student {card.name}")
    return logits.float().cpu()


class _Tally:
    """What is `read` of lines so far, and the sum of losses."""

    def __init__(self, classes: Sequence[str], texts: Texts) -> None:
        self._classes, self._texts = classes, texts
        self.read = ReadLines()
        self._loss, self._with_loss = 0.0, 0

    def add(self, logits: Tensor, rows: Sequence[int]) -> None:
        """Count the lines of `rows` by their logits [b, T, C]."""
        for best, row in zip(logits.argmax(dim=2).tolist(), rows, strict=True):
            self.read.add(read_off(best, self._classes), self._texts.text(row))
        known = [n for n, row in enumerate(rows) if self._texts.encoded(row) is not None]
        if known:
            wanted = self._texts.rows([rows[n] for n in known])
            self._loss += float(text_loss(logits[known], wanted).sum())
            self._with_loss += len(known)

    def accuracy(self, num_unusable: int) -> LineAccuracy:
        """Return shares of all images and all characters, and the mean loss."""
        return LineAccuracy(
            self.read.exact_match,
            self.read.character_error_rate,
            self._loss / max(1, self._with_loss),
            self.read.num_lines,
            num_unusable,
        )
