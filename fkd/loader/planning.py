"""Open the store of a run, refuse settings that it cannot serve, and plan the steps."""

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fkd.amounts import as_count
from fkd.config import LoaderConfig, Scheme, grids_words
from fkd.errors import ConfigError, SoftLabelError
from fkd.labels import check_reading
from fkd.loader.part import chosen_images
from fkd.loader.schedule import Pairs, Schedule
from fkd.loader.sizes import SizePlan
from fkd.machine import physical_memory
from fkd.progress import note_once
from fkd.store import LabelStore, StoredMixes

AnyConfig = TypeVar("AnyConfig", bound=LoaderConfig)


def open_store(config: LoaderConfig) -> LabelStore:
    """Open the store of a run, as `find_store` does, and warn of what is not as it was labelled."""
    store = find_store(config)
    # These draw views and read labels, and so load torch.
    from fkd.loader.labels import temper_warning
    from fkd.loader.samples import sample_labels
    from fkd.originals import drift

    changed = drift(store.spec, config.store)
    if changed:
        note_once(f"warning: {changed}")
    if store.spec.format_version < 2:
        note_once(
            f"warning: {config.store} is of format 1, which keeps no hashes of images: one that was "
            "replaced by another of the same size would not be noticed"
        )
    hottest = config.hottest_label
    if hottest.temperature != 1 and store.spec.labels.there:
        kept, fidelity = sample_labels(store).kept, store.fidelity()
        tempered = temper_warning(
            _read_as(config, store), hottest, store.spec.labels, kept, fidelity
        )
        if tempered:
            note_once(f"warning: {tempered}")
    return store


def as_stored(config: AnyConfig, store: LabelStore) -> AnyConfig:
    """Return the configuration with what a store settles: M, since it may grow, and how labels are read.

    Where nobody said the latter and the store keeps less than is usual, all that it keeps is read.
    """
    return replace(config, num_crops=store.spec.num_crops, scheme=_read_as(config, store))


def _read_as(config: LoaderConfig, store: LabelStore) -> Scheme:
    stored = store.spec.scheme
    if not store.spec.labels.there or config.scheme is not None:
        return config.reading
    return config.reading if stored.can_be_read_as(config.reading) else stored.reading


def find_store(config: LoaderConfig) -> LabelStore:
    """Open a complete store; refuse a reading, a number of crops or a part that it cannot give.

    This loads no torch, so it refuses at once.
    """
    store = first_crops(config)
    store.require_complete()
    if store.spec.labels.there:
        for temperature in config.label_temperatures or (1.0,):
            wanted, num_classes = _read_as(config, store), store.spec.num_classes
            check_reading(store.spec.scheme, wanted, temperature, num_classes)
    elif config.scheme is not None and config.scheme.kind != "none":
        raise SoftLabelError(
            f"--compress {config.scheme}: {config.store} holds vectors and no labels that could be read "
            "so; leave it out, or say --compress none"
        )
    if store.spec.grid and not config.selection.takes_all:
        raise ConfigError(
            f"--min-confidence, --max-entropy and --calibrate look at the one label of a crop, and "
            f"{config.store} holds {grids_words(store.spec.grid)}; leave them out"
        )
    if config.selection.calibrate and store.spec.unlabelled:
        raise ConfigError(
            f"--calibrate gives crops their folder's class, and the images of {config.store} have no "
            "classes; leave it out"
        )
    if config.selection.calibrate and not store.spec.labels.keeps_first:
        raise ConfigError(
            f"--calibrate: {config.store} holds {_kept(store)}, which say nothing of the teacher's "
            "confidence; leave it out, or label with --compress topk5-coarse"
        )
    if config.selection.calibrate and store.spec.mixes:
        raise ConfigError(
            f"--calibrate gives crops their folder's class, and the views of {config.store} are mixed of "
            "two images; leave it out"
        )
    if config.crops_per_image > store.spec.num_crops:
        raise ConfigError(
            f"--crops-per-image {config.crops_per_image} is more than the "
            f"{as_count(store.spec.num_crops, 'crop')} per image "
            f"{'of --crops' if config.num_crops else f'in {config.store}'}; choose at most "
            f"{store.spec.num_crops}"
        )
    if config.batch_size % config.crops_per_image:
        raise ConfigError(
            f"--batch-size {config.batch_size} is not divisible by --crops-per-image "
            f"{config.crops_per_image}; batch size counts views, so choose a multiple such as "
            f"{max(1, config.batch_size // config.crops_per_image) * config.crops_per_image}"
        )
    chosen_images(config.part, store)
    return store


def _kept(store: LabelStore) -> str:
    return "samples of labels" if store.spec.labels.there else "vectors and no labels"


def first_crops(config: LoaderConfig) -> LabelStore:
    """Open a store as one of the crops that a run takes: the first `config.num_crops` of each image."""
    store = LabelStore.open(config.store)
    return store if config.num_crops is None else store.of_first_crops(config.num_crops)


def plan_steps(
    config: LoaderConfig,
    store: LabelStore,
    chosen: NDArray[np.int64],
    num_ranks: int,
    *,
    masks: bool = False,
) -> Schedule:
    """Return the schedule of a run on the images `chosen`, int64 [N], rising; it may read `masks`.

    Refuse a batch that is larger than the run, or that ranks cannot share.
    """
    schedule = Schedule(
        num_images=len(chosen),
        num_crops=store.spec.num_crops,
        crops_per_image=config.crops_per_image,
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=config.seed,
        stagger=config.steps_apart,
        pairs=pairs_of(store, chosen),
    )
    if round(config.epochs * schedule.num_images / config.batch_size) == 0:
        raise ConfigError(
            f"--batch-size {config.batch_size} is more than the whole run: "
            f"{as_count(config.epochs, 'epoch')} of {as_count(schedule.num_images, 'image')}; choose a "
            "smaller batch or more --epochs"
        )
    if schedule.images_per_batch % num_ranks:
        raise ConfigError(
            f"--batch-size {config.batch_size} is {as_count(schedule.images_per_batch, 'image')}, which "
            f"{num_ranks} processes cannot share evenly; choose a multiple of "
            f"{config.crops_per_image * num_ranks}"
        )
    sizes = SizePlan.of(config, store.spec, schedule)
    _refuse_too_many_waiting(schedule, sizes.most_bytes(masks=masks), num_ranks)
    return schedule


def pairs_of(store: LabelStore, chosen: NDArray[np.int64]) -> Pairs | None:
    """Return the pairs of a run on the images `chosen`, int64 [N], rising; None where there are none."""
    mixes = StoredMixes.of_store(store)
    return _Pairs(mixes, chosen) if mixes is not None and mixes.in_pairs else None


@dataclass(frozen=True)
class _Pairs:
    """The partners of the images of a run, of which a part of a store may have one alone."""

    mixes: StoredMixes
    chosen: NDArray[np.int64]

    def __call__(self, crop: int) -> NDArray[np.int64]:
        """Return the position of each image's partner in a crop, or its own, int64 [N]."""
        partner = self.mixes.partners(self.chosen, np.array([crop]))[:, 0]
        last = len(self.chosen) - 1
        place = self.chosen.searchsorted(partner).clip(max=last).astype(np.int64)
        found: NDArray[np.int64] = np.where(
            self.chosen[place] == partner, place, np.arange(last + 1)
        )
        return found


def _refuse_too_many_waiting(schedule: Schedule, bytes_each: int, num_ranks: int) -> None:
    """Refuse a `--stagger` that keeps more batches waiting than fit in memory."""
    waiting = schedule.reach * schedule.batch_size // num_ranks * bytes_each
    if waiting > physical_memory():
        raise ConfigError(
            f"--stagger {schedule.apart} with --crops-per-image {schedule.crops_per_image} keeps "
            f"{as_count(schedule.reach, 'batch')} waiting, {waiting / 2**30:.1f} GiB; this machine has "
            f"{physical_memory() / 2**30:.1f}; choose a smaller --stagger (0 keeps none) or fewer crops"
        )
