"""Exact match and character error rate of a student of lines, on images with texts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from fkd.evaluation.answers import a_batch_late, as_seen, each_batch
from fkd.images import ImageList
from fkd.losses import text_loss
from fkd.machine import Download, upload
from fkd.models import find_logits
from fkd.progress import note
from fkd.students import StudentCard
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

    def asked(batch: EvaluationBatch, rows: Tensor) -> tuple[EvaluationBatch, Tensor, Download]:
        return batch, rows, _answer(model, batch.views, card, texts.rows(rows.tolist()))

    num_unusable = 0
    batches = each_batch(
        model, card, images, torch.arange(len(images)), batch_size, workers, asked,
        nested=nested,
    )  # fmt: skip
    for batch, rows, coming in a_batch_late(batches):
        tally.add(rows, batch.usable, **coming.wait())
        num_unusable += len(batch.errors)
        for error in batch.errors:
            note(f"counted as missed: {error}")
    return tally.accuracy(num_unusable)


@torch.inference_mode()
def _answer(model: nn.Module, views: Tensor, card: StudentCard, texts: Tensor) -> Download:
    """Send for what is said of views, uint8 [b, 3, H, W]: `best` int64 [b, T], the class of each frame.

    `losses` f32 [b] are to texts int64 [b, L].
    """
    device = next(model.parameters()).device
    answer = model(as_seen(upload(views, device), card))
    logits: Tensor = find_logits(answer, len(views), f"student {card.name}").float()
    return Download(best=logits.argmax(dim=2), losses=text_loss(logits, upload(texts, device)))


class _Tally:
    """What is `read` of lines so far, and the sum of losses."""

    def __init__(self, classes: Sequence[str], texts: Texts) -> None:
        self._classes, self._texts = classes, texts
        self.read = ReadLines()
        self._loss, self._with_loss = 0.0, 0

    def add(self, rows: Tensor, usable: Tensor, best: Tensor, losses: Tensor) -> None:
        """Count the lines of `rows` int64 [b], by what `_answer` says of them; bool [b] are usable."""
        each = zip(rows.tolist(), usable.tolist(), best.tolist(), losses.tolist(), strict=True)
        for row, there, frames, loss in each:
            said = read_off(frames, self._classes) if there else None
            self.read.add(said, self._texts.text(row))
            if there and self._texts.encoded(row) is not None:
                self._loss += loss
                self._with_loss += 1

    def accuracy(self, num_unusable: int) -> LineAccuracy:
        """Return shares of all images and all characters, and the mean loss."""
        return LineAccuracy(
            self.read.exact_match,
            self.read.character_error_rate,
            self._loss / max(1, self._with_loss),
            self.read.num_lines,
            num_unusable,
        )
