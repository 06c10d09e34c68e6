"""Ask the teacher again: do boxes, flips, pixels and labels of a store belong together?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import Engine, TeacherChoice
from fkd.errors import ConfigError
from fkd.images import ImageList
from fkd.labels import SoftLabels, divergence, quantize
from fkd.progress import progress_bar
from fkd.store import InspectedStore, LabelledImages, LabelStore
from fkd.teachers import Ensemble, load_teachers
from fkd.views import RenderPool, empty_views, render_views

_BLOCKS = 64  # that views are taken from: reading one costs about as much as labelling a view
_BATCH = 64

# What other kernels, another precision and another decoder may do. Boxes that are off by a few pixels
# already do more.
_MEAN_KL, _WORST_KL, _LEAST_AGREEMENT = 0.02, 1.0, 0.95


@dataclass(frozen=True)
class _Picked:
    """A batch of stored views: image and crop indices, int64 [n], boxes, flips and labels, [n, …]."""

    images: NDArray[np.int64]
    crops: NDArray[np.int64]
    size: NDArray[np.uint16]
    box: NDArray[np.uint16]
    flip: NDArray[np.bool_]
    kept: dict[str, Tensor]


@dataclass(frozen=True)
class Agreement:
    """What a teacher says today of n stored views, against what is stored.

    `kl` f32 [n] is KL(today ‖ stored) in nats. Both are in the store's scheme, so that it is near 0
    however little the scheme keeps. `agrees` bool [n] says whether both have the same top-1. `views`
    int64 [n, 2] are (image index, crop). `has_values` is false where the scheme keeps no
    probabilities, so that `kl` says nothing. `other_weights` says that these are not the weights that
    labelled. `faults` name teachers whose outputs are no logits.
    """

    kl: NDArray[np.float32]
    agrees: NDArray[np.bool_]
    views: NDArray[np.int64]
    has_values: bool
    other_weights: bool
    faults: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the teacher gives logits, and labels differ no more than other kernels make them."""
        if self.faults:
            return False
        agrees = float(self.agrees.mean()) >= _LEAST_AGREEMENT
        close = float(self.kl.mean()) <= _MEAN_KL and float(self.kl.max()) <= _WORST_KL
        return agrees and (close or not self.has_values)

    def __str__(self) -> str:
        text = f"top-1 agrees on {self.agrees.mean():.1%} of {len(self.agrees):,} views"
        if self.has_values:
            low, high, worst = np.quantile(self.kl, [0.5, 0.99, 1]).tolist()
            image, crop = self.views[int(self.kl.argmax())].tolist()
            text += (
                f"; KL in nats: mean {self.kl.mean():.2g}, median {low:.2g}, 99 % {high:.2g}, worst "
                f"{worst:.2g} (image {image}, crop {crop})"
            )
        if self.other_weights:
            text += "; these are not the weights that labelled"
        return "; ".join([text, *self.faults])


def ask_again(
    store: InspectedStore,
    images: ImageList,
    teachers: Ensemble,
    blocks: Sequence[int],
    num_views: int,
    seed: int,
    workers: int,
) -> Agreement | None:
    """Label about `num_views` stored views of random images in `blocks` anew, and compare.

    Temperature and precision are those that the store records. Returns None where no view has labels.
    Raises `ImagesError` for an image that is not the one that was labelled.
    """
    spec = store.spec
    recorded = [record.weights_hash for record in spec.teachers]
    other_weights = [teacher.weights_hash for teacher in teachers.teachers] != recorded
    picked = list(_pick(store, blocks, num_views, np.random.default_rng(seed)))
    total = sum(len(batch.crops) for batch in picked)
    files = LabelledImages(images, store.content_hashes())
    if not total:
        return None
    kl: list[Tensor] = []
    agrees: list[Tensor] = []
    faults: list[str] = []
    with (
        RenderPool(workers, teachers.device) as pool,
        progress_bar("ask the teacher", unit="view", total=total) as bar,
    ):
        for number, batch in enumerate(picked):
            views = _render(pool, files, batch, teachers)
            if number == 0:
                faults = _no_logits(teachers, views, len(batch.crops))
            probs = teachers.probs(views, len(batch.crops), spec.temperature)
            asked = {name: values.cpu() for name, values in quantize(probs, spec.scheme).items()}
            today, then = (spec.labels.restore(kept) for kept in (asked, batch.kept))
            apart = divergence(today.dense(spec.num_classes), _positive(then))
            kl.append(apart.clamp_min(0))
            agrees.append(today.top_class == then.top_class)
            bar.update(len(batch.crops))
    return Agreement(
        torch.cat(kl).numpy(),
        torch.cat(agrees).numpy(),
        np.concatenate([np.stack([batch.images, batch.crops], axis=1) for batch in picked]),
        spec.labels.keeps_values,
        other_weights,
        tuple(faults),
    )


def _no_logits(teachers: Ensemble, views: Sequence[Tensor], count: int) -> list[str]:
    """Name the teachers whose outputs are probabilities: a store made with them agrees, and is wrong."""
    judged = [(t.name, t.fault(t.outputs(seen, count))) for t, seen in teachers.each(views)]
    return [f"teacher {name} {fault}" for name, fault in judged if fault is not None]


def load_recorded(
    store: LabelStore, images: ImageList, choices: Sequence[TeacherChoice], device: torch.device
) -> Ensemble:
    """Load teachers with the preprocessing that the store records; refuse those of other classes."""
    spec = store.spec
    if len(choices) != len(spec.teachers):
        names = ", ".join(record.name for record in spec.teachers)
        raise ConfigError(
            f"--teacher is given {len(choices)} times, {store.path} was labelled by "
            f"{len(spec.teachers)} ({names}); give it as often"
        )
    classes = store.class_names()
    # A store may be of some of the folder's classes.
    only = tuple(n for n in images.classes if n in set(classes)) if spec.part else images.classes
    all_classes = classes != only and not spec.unlabelled
    recorded = [
        replace(
            choice,
            all_classes=all_classes,
            size=record.preprocessing.size,
            mean=record.preprocessing.mean,
            std=record.preprocessing.std,
            interpolation=record.preprocessing.interpolation,
            output=record.output,
        )
        for choice, record in zip(choices, spec.teachers, strict=True)
    ]
    folder = None if spec.unlabelled else images.classes
    teachers = load_teachers(recorded, folder, device, Engine(spec.amp), only=only)
    if teachers.classes.names != classes:
        raise ConfigError(
            f"the teacher labels other classes than {store.path} holds; give the --teacher-classes that "
            "it was labelled with"
        )
    return teachers


def _pick(
    store: InspectedStore, blocks: Sequence[int], num_views: int, rng: np.random.Generator
) -> Iterator[_Picked]:
    """Pick about `num_views` views at random, from blocks all over the store, in small batches."""
    spec = store.spec
    chosen = rng.choice(blocks, min(_BLOCKS, num_views, len(blocks)), replace=False)
    each = -(-num_views // len(chosen))
    for number in np.sort(chosen).tolist():
        chunk = int(rng.integers(-(-spec.num_crops // spec.chunk_crops))) * spec.chunk_crops
        slab = store.read_raw(number, slice(chunk, min(chunk + spec.chunk_crops, spec.num_crops)))
        labelled = np.flatnonzero(slab.size.any(axis=1))
        if not len(labelled):
            continue
        rows = rng.choice(labelled, each, replace=each > len(labelled))
        crops = rng.integers(slab.flip.shape[1], size=each)
        for first in range(0, each, _BATCH):
            row, crop = rows[first : first + _BATCH], crops[first : first + _BATCH]
            yield _Picked(
                row + spec.block_range(number).start,
                crop + chunk,
                slab.size[row],
                slab.box[row, crop],
                slab.flip[row, crop],
                {name: torch.from_numpy(values[row, crop]) for name, values in slab.kept.items()},
            )


def _render(
    pool: RenderPool, files: LabelledImages, picked: _Picked, teachers: Ensemble
) -> list[Tensor]:
    """Render stored views once for each view format that the teachers want."""
    views = [empty_views(len(picked.crops), format.size) for format in teachers.view_formats]

    def draw(row: int) -> None:
        pixels = files.decode(int(picked.images[row]), picked.size[row])
        for format, batch in zip(teachers.view_formats, views, strict=True):
            rows = slice(row, row + 1)
            render_views(
                pixels, picked.box[rows], picked.flip[rows], batch[rows], format.interpolation
            )

    list(pool.threads.map(draw, range(len(picked.crops))))
    return views


def _positive(labels: SoftLabels) -> SoftLabels:
    """Keep a zero from making the divergence infinite: it is 10^-12 at least."""
    value, tail = labels.value.clamp_min(1e-12), labels.tail.clamp_min(1e-12)
    return SoftLabels(labels.index, value, tail, labels.num_classes)
