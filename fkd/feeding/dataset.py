"""Stored crops and their soft labels by image, for trainers that ask for one after the other."""

import operator
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from fkd.amounts import as_count
from fkd.config import DatasetSettings, LoaderConfig, check_count
from fkd.errors import ConfigError
from fkd.feeding.batch import ViewBatch
from fkd.feeding.crops import ImageCrops, Transform
from fkd.feeding.epoch import SharedEpoch
from fkd.loader import (
    MixedRows,
    Schedule,
    SizePlan,
    StoredViews,
    as_stored,
    first_crops,
    open_store,
    read_vectors,
    restored,
    run_images,
    training_labels,
)
from fkd.originals import LabelledImages
from fkd.progress import note_once, printable
from fkd.store import LabelStore, StoredMixes, Toning
from fkd.views import Mixes

_MAX_EPOCH = 10**9


class CropDataset(Dataset[ViewBatch]):
    """Gives m stored crops of an image and their labels, image by image, for a `DataLoader`.

        dataset = CropDataset("labels.zarr", crops_per_image=4)
        loader = DataLoader(dataset, batch_size=64, shuffle=True, num_workers=8)
        for epoch in range(epochs):
            dataset.set_epoch(epoch)
            for images, soft_labels in loader: …          # 256 views

    `dataset[i]` is a `ViewBatch` of the m crops of image i: its images are uint8 [m, 3, H, W], the very
    pixels of a `StudentLoader` with `normalized=False`. With `transform`, each crop goes through it,
    uint8 [3, H, W] to a tensor [3, h, w], and the images are what it returns, stacked. `vectors` name
    stored vectors, as in a `StudentLoader`. n images make a
    batch of n · m views; `torch.utils.data.default_collate` joins them, and so does `collate`.

    An epoch here is one visit of every image, which `StudentLoader` counts as m epochs of N views each.
    Epoch e takes the crops e · m, e · m + 1, … of every image, modulo M. `set_epoch(e)` says so to worker
    processes too, those that persist included; timm's script calls it. Where nobody does, crops come
    again, and a line on stderr says so once.

    `settings` are those fields of `LoaderConfig` that an image and its crops depend on, by name:
    `images`, `drop_missing`, `subset`, `classes`, `crops_per_image`, `num_crops`, `scheme`,
    `label_temperature`, `size`, `interpolation`, `calibrate`, `unsure_below` and `unsure_smoothing`.
    Order, batches, ranks and processes are the `DataLoader`'s.

    It is slower than a `StudentLoader`, and the m crops of an image are in one batch. Where views are
    mixed, each image's partner is decoded for it alone. Each process keeps
    boxes and labels of m crops of every image of the store in memory, `epoch_bytes` in all.
    It needs one private name of torch, `torch.utils.data._utils.collate.default_collate_fn_map`.
    Raises `FkdError` for what `fkd train` refuses, and for an image that is not what was labelled.
    """

    def __init__(
        self,
        store: str | Path,
        *,
        transform: Transform | None = None,
        vectors: Collection[str] | None = None,
        **settings: Unpack[DatasetSettings],
    ) -> None:
        config = _config_of(store, dict(settings))
        self._store: LabelStore | None
        self._store, self._vectors = read_vectors(open_store(config), vectors)
        self._spec = self._store.spec
        self._config = as_stored(config, self._store)
        taken = run_images(config, self._store)
        self._chosen, self._images = taken.chosen, taken.images
        files = LabelledImages(self._images, self._store.content_hashes())
        self._names = self._store.class_names()
        self._targets = self._store.targets()
        m = config.crops_per_image
        self._schedule = Schedule(len(self._chosen), self._spec.num_crops, m, m, 1, 0)
        plan = SizePlan.of(config, self._spec, self._schedule, self._vectors)
        sizes = self._store.sizes()
        toning = Toning.of_store(self._store)
        how = plan.last, plan.interpolation, self._spec.views.fit
        self._rendered = ImageCrops(files, sizes, toning, *how, transform)
        self._epoch = SharedEpoch(len(self._chosen))
        # The epoch that was asked for last, and its crops.
        self._held: tuple[int, StoredViews] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Another process opens the store anew, and reads its own labels.
        return self.__dict__ | {"_store": None, "_held": None}

    # -- what it is -------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return how many images it has."""
        return len(self._chosen)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the student's outputs."""
        return self._names

    @property
    def targets(self) -> NDArray[np.int64]:
        """The class of every image, int64 [N], as a sampler may want it; -1 where images have none."""
        if self._targets is None:
            return np.full(len(self), -1, np.int64)
        return self._targets[self._chosen]

    @property
    def epoch(self) -> int:
        """The epoch whose crops it gives, from 0."""
        return self._epoch.number

    @property
    def epoch_bytes(self) -> int:
        """Bytes that each process keeps of one epoch: N · m boxes, flips, quantized labels and vectors.

        Where views are mixed, they are with what, too.
        """
        each = 9 + self._spec.labels.num_bytes + (27 if self._spec.mixes else 0)
        each += sum(stored.kept.num_bytes for stored in self._vectors.values())
        return self._spec.num_images * self._config.crops_per_image * each

    def __repr__(self) -> str:
        config = self._config
        read = config.reading if self._spec.labels.there else "vectors"
        return (
            f"CropDataset({config.store}: {as_count(len(self), 'image')}, "
            f"m = {config.crops_per_image}, {read}, epoch {self.epoch})"
        )

    # -- its crops --------------------------------------------------------------------------------

    def set_epoch(self, epoch: int) -> None:
        """Take the crops of an epoch from now on, in all worker processes; call it before each epoch."""
        check_count("epoch", epoch, 0, _MAX_EPOCH)
        self._epoch.begin(epoch)

    def __getitem__(self, index: int) -> ViewBatch:
        positions = self._positions([index])
        if self._epoch.is_second_round():
            self._say_repeated(int(positions[0]))
        return self._fetch(positions)[0]

    def __getitems__(self, indices: Sequence[int]) -> list[ViewBatch]:
        """Return the crops of several images; a `DataLoader` asks for a batch so."""
        positions = self._positions(indices)
        again = self._epoch.first_repeat(positions)
        if again is not None:
            self._say_repeated(again)
        return self._fetch(positions)

    def _fetch(self, positions: NDArray[np.int64]) -> list[ViewBatch]:
        epoch, numbers = self.epoch, self._chosen[positions]
        slots, stored = self._schedule.crop_slots(epoch), self._crops(epoch)
        crops = stored.slab.take(numbers, np.arange(len(slots)))
        mixed = [None if stored.mixes is None else stored.mixes[number] for number in numbers]
        each = zip(numbers.tolist(), crops.box, crops.flip, mixed, strict=True)
        images = [self._rendered.of(number, slots, *views) for number, *views in each]
        targets = torch.from_numpy(crops.target.repeat(len(slots)))
        kept = {
            name: torch.from_numpy(values.reshape(-1, values.shape[-1]))
            for name, values in crops.kept.items()
        }
        labels = None
        if self._spec.labels.there:
            labels = training_labels(kept, targets, self._spec.labels, self._config)
        vectors = restored(self._vectors, kept)
        rows = [slice(n * len(slots), (n + 1) * len(slots)) for n in range(len(numbers))]
        return [
            ViewBatch(
                views,
                None if labels is None else labels[those],
                targets[those],
                torch.from_numpy(np.full(len(slots), number, np.int64)),
                torch.from_numpy(slots),
                *self._truth_of(mixes),
                {name: values[those] for name, values in vectors.items()},
            )
            for views, those, number, mixes in zip(images, rows, numbers, mixed, strict=True)
        ]

    def _truth_of(self, mixes: Mixes | None) -> tuple[Tensor | None, Tensor | None]:
        """Return the partners' classes and the own shares of crops that are mixed."""
        if mixes is None:
            return None, None
        mixed = MixedRows.of(mixes, mixes.image, self._targets)
        return mixed.targets, mixed.own_share

    @staticmethod
    def collate(batches: Sequence[ViewBatch]) -> ViewBatch:
        """Return the crops of several images as one batch: a `collate_fn` for a `DataLoader`."""
        return ViewBatch.concatenate(batches)

    def _positions(self, indices: Sequence[int]) -> NDArray[np.int64]:
        """Return indices as numbers from 0; raises `IndexError` beyond the last image."""
        given = np.array([operator.index(index) for index in indices], np.int64)
        positions = np.where(given < 0, given + len(self), given)
        wrong = (positions < 0) | (positions >= len(self))
        if wrong.any():
            raise IndexError(
                f"image {given[wrong][0]} of a CropDataset of {as_count(len(self), 'image')}"
            )
        return positions

    def _say_repeated(self, position: int) -> None:
        key = printable(self._images.paths[int(self._chosen[position])])
        note_once(
            f"warning: {key} was asked for again in epoch {self.epoch} of a CropDataset, and gets "
            "the same crops; call its set_epoch(epoch) before each epoch (a sampler with replacement "
            "repeats images by itself)"
        )

    def _crops(self, epoch: int) -> StoredViews:
        """Return the crops that an epoch takes of all images of the store; read once in a process."""
        held = self._held
        if held is None or held[0] != epoch:
            self._held = held = None  # two epochs may not fit in memory
            if self._store is None:
                self._store, _ = read_vectors(first_crops(self._config), tuple(self._vectors))
            slots = self._schedule.crop_slots(epoch).tolist()
            mixes = StoredMixes.of_store(self._store)
            self._held = held = epoch, StoredViews.read(self._store, mixes, slots)
        return held[1]


def _config_of(store: str | Path, settings: dict[str, Any]) -> LoaderConfig:
    """Return the configuration of a dataset; raises `ConfigError` for settings that it has not."""
    known = DatasetSettings.__optional_keys__
    unknown = sorted(set(settings) - known)
    if unknown:
        raise ConfigError(
            f"{', '.join(unknown)} is no setting of a CropDataset; it knows {', '.join(sorted(known))} "
            "and transform (order, batches and worker processes are its DataLoader's)"
        )
    config = LoaderConfig.of(store=store, **settings)
    if config.size is not None:
        config.size.check("size")
    return replace(config, batch_size=config.crops_per_image)
