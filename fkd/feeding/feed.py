"""What a loader reads, settled once, and the batches from any step of it."""

from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fkd.amounts import as_count
from fkd.config import LoaderConfig
from fkd.feeding.augmenting import Augmentation, augmented
from fkd.feeding.batch import ViewBatch
from fkd.feeding.ranks import device_of
from fkd.loader import (
    Picks,
    RunImages,
    Schedule,
    SizePlan,
    StudentBatch,
    as_stored,
    open_store,
    plan_steps,
    read_vectors,
    restored,
    run_images,
    select_crops,
    student_batches,
    training_labels,
)
from fkd.machine import upload
from fkd.originals import LabelledTruth, find_labelled_masks, find_labelled_texts
from fkd.progress import note_once
from fkd.store import LabelStore
from fkd.vectors import StoredVectors
from fkd.views import RenderPool, normalize


@dataclass(frozen=True)
class Feed:
    """A run's store and images, its steps, and what each rank takes of them.

    `vectors` are those that are read beside labels, by name, and `truth` what lies beside the images,
    where it is asked for. An epoch is `steps_per_epoch` steps.
    """

    config: LoaderConfig
    store: LabelStore
    vectors: Mapping[str, StoredVectors]
    taken: RunImages
    steps_per_epoch: int
    schedule: Schedule
    sizes: SizePlan
    picks: Picks | None
    device: torch.device
    rank: int
    num_ranks: int
    truth: LabelledTruth | None = None

    @classmethod
    def of(
        cls,
        config: LoaderConfig,
        rank: int,
        num_ranks: int,
        vectors: Collection[str] | None = None,
        *,
        masks: bool = False,
        texts: bool = False,
    ) -> "Feed":
        """Open and check all that is read; raises `FkdError` for what `fkd train` refuses.

        `vectors` name those to be read, too; None are none, or all of a store without labels. With
        `masks` or `texts`, those of the images are.
        """
        store, read = read_vectors(open_store(config), vectors)
        config = as_stored(config, store)
        device, taken = device_of(config.device), run_images(config, store)
        chosen = taken.chosen
        each = max(1, round(len(chosen) / config.batch_size))
        _warn_of_long_epochs(each * config.batch_size, len(chosen))
        planned = plan_steps(config, store, chosen, num_ranks, masks=masks)
        schedule = _of_even_epochs(planned, each)
        sizes = SizePlan.of(config, store.spec, schedule, read)
        picks = select_crops(config.selection, store, chosen)
        found: LabelledTruth | None = None
        if masks:
            found = find_labelled_masks(store, taken.images)
        elif texts:
            found = find_labelled_texts(store, taken.images)
        return cls(
            config, store, read, taken, each, schedule, sizes, picks, device, rank, num_ranks, found
        )

    def batches(
        self, first_step: int, normalized: bool, augment: Augmentation | None
    ) -> Generator[ViewBatch]:
        """Yield the batches from a step on to the end of the run, with threads that work ahead."""
        with RenderPool(self.config.workers, self.device, self.config.render) as pool:
            batches = student_batches(
                pool,
                self.store,
                self.taken.images,
                self.schedule,
                sizes=self.sizes,
                chosen=self.taken.chosen,
                picks=self.picks,
                truth=self.truth,
                first_step=first_step,
                rank=self.rank,
                num_ranks=self.num_ranks,
            )
            for step, batch in enumerate(batches, first_step):
                yield self._finish(batch.to(self.device), step, normalized, augment)

    def _finish(
        self, batch: StudentBatch, step: int, normalized: bool, augment: Augmentation | None
    ) -> ViewBatch:
        stored = self.store.spec.labels
        labels = None
        if stored.there:
            labels = training_labels(batch.kept, batch.targets, stored, self.config)
        vectors = restored(self.vectors, batch.kept)
        views = batch.views
        if augment is not None:
            key = np.random.SeedSequence((self.config.seed, step, self.rank))
            views = augmented(views, augment, key)
        if normalized:
            views = self._normalize(views)
        numbers = (batch.image_index, batch.crop_index)
        image, crop = (upload(torch.from_numpy(each), self.device) for each in numbers)
        mixed = batch.partner_targets, batch.own_share
        return ViewBatch(
            views, labels, batch.targets, image, crop, *mixed, vectors, batch.masks, batch.texts
        )  # fmt: skip

    def _normalize(self, views: Tensor) -> Tensor:
        if views.is_floating_point():
            views = views * 255
        pixels = normalize(views, self.config.mean, self.config.std)
        return pixels.contiguous(memory_format=torch.channels_last)


def _warn_of_long_epochs(num_views: int, num_images: int) -> None:
    """Say that a batch is so large that an epoch, of one whole step, is much more than N views."""
    if num_views > 1.5 * num_images:
        note_once(
            f"warning: an epoch of this StudentLoader is one step of {as_count(num_views, 'view')}, of "
            f"{as_count(num_images, 'image')} alone; choose a smaller batch_size"
        )


def _of_even_epochs(schedule: Schedule, steps_per_epoch: int) -> Schedule:
    """Return a schedule of equally many steps an epoch, for trainers know no other kind."""
    steps = max(1, round(schedule.epochs * steps_per_epoch))
    return replace(schedule, epochs=steps * schedule.batch_size / schedule.num_images)
