"""Labels of batches, read from a GPU once it has the next batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from fkd.config import LabelConfig
from fkd.errors import SoftLabelError
from fkd.images import ImageList
from fkd.labelling.batches import TeacherBatch
from fkd.labels import Quantized, faulty_rows, quantize
from fkd.machine import Download
from fkd.teachers import Ensemble


def answers(
    teachers: Ensemble, batches: Iterator[TeacherBatch], config: LabelConfig, images: ImageList
) -> Iterator[tuple[TeacherBatch, Quantized]]:
    """Yield batches with their labels on the CPU, read once a GPU has the next batch."""
    waiting: _Asked | None = None
    for batch in batches:
        asked = _ask(teachers, batch, config)
        if waiting is not None:
            yield waiting.batch, _answer(waiting, config, images)
        waiting = asked
    if waiting is not None:
        yield waiting.batch, _answer(waiting, config, images)


@dataclass(frozen=True)
class _Asked:
    """A batch that the teachers have, and its labels on their way; both None where it has no views."""

    batch: TeacherBatch
    probs: torch.Tensor | None = None
    coming: Download | None = None


def _ask(teachers: Ensemble, batch: TeacherBatch, config: LabelConfig) -> _Asked:
    """Give a batch to the teachers, without waiting for a GPU."""
    if not batch.num_views:
        return _Asked(batch)
    probs = teachers.probs(batch.views, batch.num_views, config.temperature)
    coming = Download(faulty=faulty_rows(probs), **quantize(probs, config.scheme))
    return _Asked(batch, probs, coming)


def _answer(asked: _Asked, config: LabelConfig, images: ImageList) -> Quantized:
    """Wait for a batch's quantized labels; refuse probabilities that are no distribution."""
    if asked.probs is None or asked.coming is None:
        return {}
    kept = asked.coming.wait()
    faulty = kept.pop("faulty")
    if faulty.any():
        row = int(faulty.int().argmax())
        probs = asked.probs[row]
        names = ", ".join(t.name for t in config.teachers)
        raise SoftLabelError(
            f"teacher {names}, {_culprit(row, asked.batch, images)}: its probabilities lie in "
            f"[{float(probs.min()):g}, {float(probs.max()):g}] and sum to {float(probs.sum()):g}; "
            "check --teacher-weights, --mean, --std, --amp and --temperature"
        )
    return kept


def _culprit(row: int, batch: TeacherBatch, images: ImageList) -> str:
    """Name the view in a row of a batch."""
    strip = next(s for s in batch.strips if s.first_row <= row < s.first_row + s.count)
    crop = strip.first_crop + row - strip.first_row
    return f"image {images.file(strip.image_index)}, crop {crop}"
