"""Stored crops and their soft labels for a training loop of one's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from fkd.amounts import as_count
from fkd.config import MAX_BATCH, LoaderConfig, LoaderSettings, check_count
from fkd.errors import ConfigError
from fkd.labels import SoftLabels
from fkd.loader.batches import student_batches
from fkd.loader.labels import training_labels
from fkd.loader.part import chosen_images
from fkd.loader.planning import open_store, plan_steps
from fkd.loader.selection import select_crops
from fkd.loader.sizes import SizePlan
from fkd.machine import resolve_device
from fkd.store import find_images
from fkd.views import RenderPool, normalize


class StudentLoader(IterableDataset[tuple[Tensor, SoftLabels]]):
    """Yields the (pixels, soft labels) that `fkd train` would train on, in its order, on a device.

        for pixels, soft_labels in StudentLoader("labels.zarr", crops_per_image=4, epochs=300):
            loss = soft_cross_entropy(student(pixels), soft_labels).mean()

    Pixels are normalised, f32 [B, 3, H, W] in channels-last memory; `sizes.at(step)` says how large. With
    `stagger=0` the m views of an image stand in a row of one batch. `settings` are the fields of
    `LoaderConfig`; the fields of its `Part` and `Selection` are given directly. Of several ranks each
    gets its share of every batch.

    It decodes and renders in threads of its own, `workers` of them. Where a trainer wants a `DataLoader`,
    `DataLoader(loader, batch_size=None)` yields the same batches; worker processes would each yield all
    of them, so they are refused.
    Raises `FkdError` for what `fkd train` refuses.
    """

    def __init__(
        self,
        store: str | Path,
        *,
        rank: int = 0,
        num_ranks: int = 1,
        **settings: Unpack[LoaderSettings],
    ) -> None:
        check_count("num_ranks", num_ranks, 1, MAX_BATCH)
        check_count("rank", rank, 0, num_ranks - 1)
        config = LoaderConfig.of(store=store, **settings)
        self._config, self._rank, self._num_ranks = config, rank, num_ranks
        self._store = open_store(config)
        self._images = find_images(self._store, config.images)
        self.device = resolve_device(config.device)
        self._chosen = chosen_images(config.part, self._store)
        self.schedule = plan_steps(config, self._store, len(self._chosen), num_ranks)
        self.sizes = SizePlan.of(config, self._store.spec, self.schedule)
        self._picks = select_crops(config.selection, self._store, self._chosen)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the student's outputs."""
        return self._store.class_names()

    @property
    def titles(self) -> tuple[str, ...]:
        """Names of these classes for people to read; the class names where the store has no others."""
        return self._store.class_titles()

    def __repr__(self) -> str:
        config, schedule = self._config, self.schedule
        selected = "" if config.part.takes_all else f", {as_count(len(self._chosen), 'image')}"
        selected += "" if self._picks is None else ", selected crops"
        return (
            f"StudentLoader({config.store}: {as_count(len(self), 'step')} of "
            f"{as_count(schedule.batch_size, 'view')}, m = {schedule.crops_per_image}, "
            f"{config.scheme}{selected}, {self.device})"
        )

    def __len__(self) -> int:
        return self.schedule.total_steps

    def __iter__(self) -> Iterator[tuple[Tensor, SoftLabels]]:
        return self.batches()

    def batches(self, first_step: int = 0) -> Iterator[tuple[Tensor, SoftLabels]]:
        """Yield the batches from `first_step` on, so that a loop that was stopped can go on."""
        check_count("first_step", first_step, 0, len(self))
        if get_worker_info() is not None:
            raise ConfigError(
                "a StudentLoader in the worker processes of a DataLoader would yield every batch once in "
                "each of them; use num_workers=0, and give the loader itself more workers, which are "
                "threads"
            )
        return self._batches(first_step)

    def _batches(self, first_step: int) -> Iterator[tuple[Tensor, SoftLabels]]:
        config, spec = self._config, self._store.spec
        with RenderPool(config.workers, self.device, config.render) as pool:
            for batch in student_batches(
                pool,
                self._store,
                self._images,
                self.schedule,
                sizes=self.sizes,
                chosen=self._chosen,
                picks=self._picks,
                first_step=first_step,
                rank=self._rank,
                num_ranks=self._num_ranks,
            ):
                batch = batch.to(self.device)
                labels = training_labels(batch.kept, batch.targets, spec.labels, config)
                pixels = normalize(batch.views, config.mean, config.std)
                yield pixels.contiguous(memory_format=torch.channels_last), labels
