"""Ask the teacher again: do boxes, flips, pixels and labels of a store belong together?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.checking.agreement import Agreement, compared, kind_of
from fkd.checking.vector_agreement import Comparing, VectorAgreement
from fkd.format import StoreSpec
from fkd.images import ImageList
from fkd.machine import device_memory
from fkd.originals import LabelledImages
from fkd.progress import progress_bar
from fkd.store import InspectedStore, StoredMixes, Toning
from fkd.teachers import Ensemble
from fkd.views import Mixes, RenderPool, blend_views, empty_views, render_views

_BLOCKS = 64  # that views are taken from: reading one costs about as much as labelling a view
_BATCH = 64
_NUMBERS = 2**24  # that teachers say of a batch: maps are of fewer views


@dataclass(frozen=True)
class _Picked:
    """A batch of stored views: image and crop indices, int64 [n], boxes, flips and labels, [n, …].

    `mixes` [n] say what they are mixed with, and `other_size` u16 [n, 2] are the sizes of those images.
    """

    images: NDArray[np.int64]
    crops: NDArray[np.int64]
    size: NDArray[np.uint16]
    box: NDArray[np.uint16]
    flip: NDArray[np.bool_]
    kept: dict[str, Tensor]
    mixes: Mixes
    other_size: NDArray[np.uint16]

    @property
    def views(self) -> NDArray[np.int64]:
        """Image index and crop of each view, int64 [n, 2]."""
        return np.stack([self.images, self.crops], axis=1)


@dataclass(frozen=True)
class Asked:
    """What teachers say today: of `labels`, None where a store keeps none, and of its `vectors`."""

    labels: Agreement | None
    vectors: tuple[VectorAgreement, ...]
    other_weights: bool


def ask_again(
    store: InspectedStore,
    images: ImageList,
    teachers: Ensemble,
    blocks: Sequence[int],
    num_views: int,
    seed: int,
    workers: int,
) -> Asked | None:
    """Label about `num_views` stored views of random images in `blocks` anew, and compare.

    Temperature and precision are those that the store records. Returns None where no view has been
    labelled. Raises `ImagesError` for an image that is not the one that was labelled.
    """
    spec = store.spec
    recorded = [record.weights_hash for record in spec.teachers]
    other_weights = [teacher.weights_hash for teacher in teachers.teachers] != recorded
    picked = list(_pick(store, blocks, num_views, np.random.default_rng(seed)))
    total = sum(len(batch.crops) for batch in picked)
    files, drawn_by = LabelledImages(images, store.content_hashes()), store.image_numbers()
    toning = Toning.of_store(store)
    if not total:
        return None
    found: list[tuple[Tensor, ...]] = []
    comparing = {name: Comparing(name, store.vectors(name)) for name in spec.vectors}
    faults: list[str] = []
    with (
        device_memory("choose --device cpu"),
        RenderPool(workers, teachers.device) as pool,
        progress_bar("ask the teacher", unit="view", total=total) as bar,
    ):
        for number, batch in enumerate(picked):
            views = _render(pool, files, batch, teachers, toning)
            count, labels = len(batch.crops), spec.labels.there
            if number == 0 and labels:
                faults = _no_logits(teachers, views, count)
            probs, vectors = teachers.say(views, count, spec.temperature, labels=labels)
            if probs is not None:
                drawn_as = np.stack([drawn_by[batch.views[:, 0]], batch.views[:, 1]], axis=1)
                found.append(compared(probs, drawn_as, batch.kept, spec))
            for name, said in vectors.items():
                comparing[name].add(said, batch.kept)
            bar.update(len(batch.crops))
    asked = np.concatenate([batch.views for batch in picked])
    labels_agree = (
        _labels(spec, found, asked, faults, other_weights=other_weights) if found else None
    )
    vectors_agree = tuple(each.agreement(asked) for each in comparing.values())
    return Asked(labels_agree, vectors_agree, other_weights)


def _labels(
    spec: StoreSpec,
    found: Sequence[tuple[Tensor, ...]],
    asked: NDArray[np.int64],
    faults: Sequence[str],
    *,
    other_weights: bool,
) -> Agreement:
    """Join what was found of labels, batch by batch."""
    agrees, kl, off, spread = (torch.cat(values).numpy() for values in zip(*found, strict=True))
    deviation = spread if spec.scheme.deviation else None
    return Agreement(
        *(agrees, kl, off, kind_of(spec), asked, other_weights, tuple(faults), deviation),
        num_positions=spec.labels.num_positions,
    )


def _no_logits(teachers: Ensemble, views: Sequence[Tensor], count: int) -> list[str]:
    """Name the teachers whose outputs are probabilities: a store made with them agrees, and is wrong."""
    judged = [(t.name, t.fault(t.outputs(seen, count))) for t, seen in teachers.each(views)]
    return [f"teacher {name} {fault}" for name, fault in judged if fault is not None]


def _pick(
    store: InspectedStore, blocks: Sequence[int], num_views: int, rng: np.random.Generator
) -> Iterator[_Picked]:
    """Pick about `num_views` views at random, from blocks all over the store, in small batches."""
    mixes, sizes = StoredMixes.of_store(store), store.sizes()
    chosen = rng.choice(blocks, min(_BLOCKS, num_views, len(blocks)), replace=False)
    each = -(-num_views // len(chosen))
    of_view = store.spec.labels.num_positions * store.spec.num_classes
    batch = max(1, min(_BATCH, _NUMBERS // of_view)) if store.spec.grid else _BATCH
    for number in np.sort(chosen).tolist():
        spec, place = store.spec_of(number), store.block(number)
        chunk = int(rng.integers(-(-spec.num_crops // spec.chunk_crops))) * spec.chunk_crops
        slab = store.read_raw(number, slice(chunk, min(chunk + spec.chunk_crops, spec.num_crops)))
        labelled = np.flatnonzero(slab.size.any(axis=1))
        if not len(labelled):
            continue
        held = slab.flip.shape[1]
        views = rng.choice(len(labelled) * held, min(each, len(labelled) * held), replace=False)
        rows, crops = labelled[views // held], views % held
        for first in range(0, len(views), batch):
            row, crop = rows[first : first + batch], crops[first : first + batch]
            image, own_crop = row + place.images.start, crop + chunk + place.crops.start
            if mixes is not None:
                known = [_known(mixes, *view) for view in zip(image, own_crop, strict=True)]
                row, crop, image, own_crop = (v[known] for v in (row, crop, image, own_crop))
            if not len(image):
                continue
            mixed = _mixed(mixes, image, own_crop)
            yield _Picked(
                image,
                own_crop,
                slab.size[row],
                slab.box[row, crop],
                slab.flip[row, crop],
                {name: torch.from_numpy(values[row, crop]) for name, values in slab.kept.items()},
                mixed,
                sizes[mixed.image],
            )


def _known(mixes: StoredMixes, image: int, crop: int) -> bool:
    """Say whether the image that a view is mixed with is labelled."""
    return bool(mixes.known(np.array([image]), np.array([crop]))[0])


def _mixed(mixes: StoredMixes | None, images: NDArray[np.int64], crops: NDArray[np.int64]) -> Mixes:
    """Return how one crop each, int64 [n], of n images is mixed: [n]."""
    if mixes is None:
        return Mixes.none(images)
    each = zip(images.tolist(), crops.tolist(), strict=True)
    found = [mixes.of(np.array([image]), np.array([crop]))[0] for image, crop in each]
    return Mixes.concatenate(found)


def _render(
    pool: RenderPool, files: LabelledImages, picked: _Picked, teachers: Ensemble, toning: Toning
) -> list[Tensor]:
    """Render stored views, in their tone and mixed, once for each view format that the teachers want."""
    views = [empty_views(len(picked.crops), format.size) for format in teachers.view_formats]
    mixed, fit = picked.mixes.mixed, toning.policy.fit

    def draw(row: int) -> None:
        pixels = files.decode(int(picked.images[row]), picked.size[row])
        rows = slice(row, row + 1)
        for format, batch in zip(teachers.view_formats, views, strict=True):
            render_views(
                pixels, picked.box[rows], picked.flip[rows], batch[rows], format.interpolation, fit
            )
            toning.change(batch[rows], picked.images[rows], picked.crops[rows])
        if mixed[row]:
            blend(row)

    def blend(row: int) -> None:
        rows = slice(row, row + 1)
        one = picked.mixes[rows]
        pixels = files.decode(int(one.image[0]), picked.other_size[row])
        for format, batch in zip(teachers.view_formats, views, strict=True):
            other = empty_views(1, format.size)
            render_views(pixels, one.box, one.flip, other, format.interpolation)
            toning.change(other, one.image, picked.crops[rows])
            blend_views(list(batch[rows]), list(other), one)

    list(pool.threads.map(draw, range(len(picked.crops))))
    return views
