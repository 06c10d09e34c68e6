"""Labels of batches, and what they give up, read from a GPU once it has the next batch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fkd.config import LabelConfig
from fkd.errors import ModelError, SoftLabelError
from fkd.images import ImageList
from fkd.labelling.batches import Strip, TeacherBatch
from fkd.labelling.drawing import Views
from fkd.labels import NUM_MEASURES, Quantized, faulty_rows, quantize, row_fidelity
from fkd.machine import Download
from fkd.store import Block
from fkd.teachers import Ensemble
from fkd.vectors import StoredVectors
from fkd.views import label_draws


class StoredViews(Views, Protocol):
    """The views of a store whose labels are averaged with what the teachers say of them."""

    @property
    def exact(self) -> bool:
        """Whether the store's labels are what its teachers said, but for rounding."""
        ...

    def mean(self, probs: Tensor, strips: Sequence[Strip]) -> Tensor:
        """Return the mean, f32 [B, C], of the stored labels and `probs`, of the views of `strips`."""
        ...

    def complete(self, images: range, block: Block) -> None:
        """Put into a block of images what a store has beside views and labels."""
        ...


@dataclass(frozen=True)
class LabelledBatch:
    """A batch with its labels: `kept` by name [B, …], and what each gives up, `fidelity` f32 [B, 6].

    Of views that have several labels that is their mean.

    Of a batch without views there are neither.
    """

    batch: TeacherBatch
    kept: Quantized
    fidelity: Tensor


def answers(
    teachers: Ensemble,
    batches: Iterator[TeacherBatch],
    config: LabelConfig,
    images: ImageList,
    targets: Mapping[str, StoredVectors],
    stored: StoredViews | None = None,
) -> Iterator[LabelledBatch]:
    """Yield batches with their labels on the CPU, read once a GPU has the next batch.

    `targets` are the vectors that are kept, by name. With `stored` views, labels are the means of the
    teachers' and theirs.
    """
    waiting: _Asked | None = None
    for batch in batches:
        asked = _ask(teachers, batch, config, images, targets, stored)
        if waiting is not None:
            yield _answer(waiting, teachers, config, images)
        waiting = asked
    if waiting is not None:
        yield _answer(waiting, teachers, config, images)


@dataclass(frozen=True)
class _Asked:
    """A batch that the teachers have, and its labels on their way, None where it has no views."""

    batch: TeacherBatch
    coming: Download | None = None


def _ask(
    teachers: Ensemble,
    batch: TeacherBatch,
    config: LabelConfig,
    images: ImageList,
    targets: Mapping[str, StoredVectors],
    stored: StoredViews | None,
) -> _Asked:
    """Give a batch to the teachers, without waiting for a GPU."""
    if not batch.num_views:
        return _Asked(batch)
    try:
        labels = config.kept.kind != "none"
        probs, vectors = teachers.say(
            batch.views, batch.num_views, config.temperature, labels=labels
        )
    except ModelError as error:
        first = _view(0, batch, images)
        raise ModelError(f"{error} (in the batch that begins with {first})") from error
    faulty = torch.zeros(batch.num_views, dtype=torch.bool, device=teachers.device)
    fidelity = torch.full((batch.num_views, NUM_MEASURES), torch.nan, device=teachers.device)
    kept: dict[str, Tensor] = {}
    if probs is not None:
        faulty |= _by_view(faulty_rows(probs), batch.num_views).any(dim=1)
        if stored is not None:
            probs = stored.mean(probs, batch.strips)
        said = quantize(probs, config.kept, _draws(batch, config))
        measured = row_fidelity(probs, said, config.kept)
        fidelity = _by_view(measured, batch.num_views).mean(dim=1) if teachers.grid else measured
        kept |= {name: values.reshape(batch.num_views, -1) for name, values in said.items()}
    for name, vector in vectors.items():
        faulty |= ~vector.flatten(1).isfinite().all(dim=1)
        kept |= targets[name].quantize(vector)
    if stored is not None and not stored.exact:  # what the teachers themselves said is not known
        fidelity = torch.full_like(fidelity, torch.nan)
    return _Asked(batch, Download(faulty=faulty, fidelity=fidelity, **kept))


def _by_view(rows: Tensor, num_views: int) -> Tensor:
    """Return rows of positions, [n · G, …], by the view that they are of: [n, G, …]."""
    return rows.reshape(num_views, -1, *rows.shape[1:])


def _draws(batch: TeacherBatch, config: LabelConfig) -> Tensor | None:
    """Return the numbers by which classes are drawn of a batch's views, f64 [B], where that is done."""
    if config.kept.kind != "samples":
        return None
    strips = batch.strips
    images = np.repeat([s.number for s in strips], [s.count for s in strips])
    crops = np.concatenate([np.arange(s.first_crop, s.first_crop + s.count) for s in strips])
    return torch.from_numpy(label_draws(config.views.seed, images, crops))


def _answer(
    asked: _Asked, teachers: Ensemble, config: LabelConfig, images: ImageList
) -> LabelledBatch:
    """Wait for a batch's quantized labels; refuse probabilities that are no distribution."""
    if asked.coming is None:
        return LabelledBatch(asked.batch, {}, torch.empty(0, NUM_MEASURES))
    kept = asked.coming.wait()
    faulty, fidelity = kept.pop("faulty"), kept.pop("fidelity")
    if faulty.any():
        raise _no_distribution(int(faulty.int().argmax()), asked.batch, teachers, config, images)
    return LabelledBatch(asked.batch, kept, fidelity)


def _no_distribution(
    row: int, batch: TeacherBatch, teachers: Ensemble, config: LabelConfig, images: ImageList
) -> SoftLabelError:
    """Ask each teacher again, and name the first one whose probabilities in a row are faulty."""
    for name, said in teachers.teachers[0].say(batch.views[0], batch.num_views).vectors.items():
        if not said[row].isfinite().all():
            return SoftLabelError(
                f"teacher {teachers.teachers[0].name}, {_view(row, batch, images)}: its vector {name} is "
                "not finite; check --teacher-weights, --mean, --std and --amp"
            )
    rows = [  # of each teacher those of the view, [G, C]
        _by_view(teacher.probs(seen, batch.num_views, config.temperature), batch.num_views)[row]
        for teacher, seen in teachers.each(batch.views)
    ]
    culprit = next((n for n, probs in enumerate(rows) if faulty_rows(probs).any()), None)
    if culprit is None:
        return SoftLabelError(
            f"{_view(row, batch, images)}: its probabilities are no distribution, and are one when the "
            "teacher is asked again; a teacher must give a view the same outputs each time"
        )
    teacher = teachers.teachers[culprit]
    probs = rows[culprit][int(faulty_rows(rows[culprit]).int().argmax())]
    which = f"{culprit + 1} of {len(rows)}, " if len(rows) > 1 else ""
    return SoftLabelError(
        f"teacher {which}{teacher.name}, {_view(row, batch, images)}: its probabilities lie in "
        f"[{float(probs.min()):g}, {float(probs.max()):g}] and sum to {float(probs.sum()):g}; "
        "check --teacher-weights, --mean, --std, --amp and --temperature"
    )


def _view(row: int, batch: TeacherBatch, images: ImageList) -> str:
    """Name the view in a row of a batch."""
    strip = next(s for s in batch.strips if s.first_row <= row < s.first_row + s.count)
    crop = strip.first_crop + row - strip.first_row
    return f"image {images.name(strip.image_index)}, crop {crop}"
