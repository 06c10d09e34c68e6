"""What a training run reads: the store, the images it was made from, and a folder to evaluate on."""

import os
from pathlib import Path

from fkd.config import TrainConfig
from fkd.errors import ConfigError, ImagesError, StoreError
from fkd.evaluate import match_classes
from fkd.images import (
    EXTENSIONS,
    MAX_NUM_BYTES,
    ImageList,
    dataset_root,
    first_difference,
    list_images,
    val_folder,
)
from fkd.labels import check_reading
from fkd.machine import physical_memory
from fkd.probe import drift
from fkd.progress import note
from fkd.schedule import Schedule
from fkd.store import LabelStore

# Images of a store's list, from each end, that are looked for where the store says they are.
_LOOKED_AT = 32


def open_store(config: TrainConfig) -> LabelStore:
    """Open a whole store and refuse readings and numbers that it cannot give."""
    store = LabelStore.open(config.store)
    store.require_complete()
    check_reading(store.spec.scheme, config.scheme)
    changed = drift(store.spec, config.store)
    if changed:
        note(f"warning: {changed}")
    if store.spec.format_version < 2:
        note(
            f"warning: {config.store} is of format 1, which keeps no hashes of images: one that was "
            "replaced by another of the same size would not be noticed"
        )
    if config.crops_per_image > store.spec.num_crops:
        raise ConfigError(
            f"--crops-per-image {config.crops_per_image} is more than the {store.spec.num_crops} crops "
            f"per image in {config.store}; choose at most {store.spec.num_crops}"
        )
    if config.batch_size % config.crops_per_image:
        raise ConfigError(
            f"--batch-size {config.batch_size} is not divisible by --crops-per-image "
            f"{config.crops_per_image}; batch size counts views, so choose a multiple such as "
            f"{max(1, config.batch_size // config.crops_per_image) * config.crops_per_image}"
        )
    if not len(store.labelled_images()):
        raise StoreError(f"{config.store} holds no labelled image")
    return store


def image_root(store: LabelStore, folder: Path | None) -> Path:
    """Return the folder that holds the class folders of a store's images; refuse one without them.

    What a store says is a hint, perhaps a stranger's: where none of its images are, nothing is listed.
    """
    if folder is not None:
        root = dataset_root(folder)
        if root.is_dir():
            return root
        raise _not_there(store, root)
    hint, paths, sizes = store.spec.images_root, store.image_paths(), store.num_bytes()
    few = [*range(min(_LOOKED_AT, len(paths))), *range(max(0, len(paths) - _LOOKED_AT), len(paths))]
    if not any(_is_there(os.path.join(hint, paths[n]), int(sizes[n])) for n in few):
        raise _not_there(store, Path(hint))
    return Path(hint)


def _is_there(path: str, num_bytes: int) -> bool:
    """Say whether an image of this size is at a path that a store names, without opening it."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return False
    return path.lower().endswith(EXTENSIONS) and min(found.st_size, MAX_NUM_BYTES) == num_bytes


def _not_there(store: LabelStore, root: Path) -> ImagesError:
    return ImagesError(
        f"the images of {store.path} are not at {root}; say where they are with --images"
    )


def find_images(store: LabelStore, folder: Path | None) -> ImageList:
    """List the images of a store in `folder`, or where the store says they are; refuse others."""
    root = image_root(store, folder)
    images = list_images(root)
    difference = first_difference(store.image_paths(), store.num_bytes(), images)
    if difference:
        raise ImagesError(
            f"{root} does not hold the images that {store.path} was made from: {difference}; "
            "give the right folder with --images or label this one anew"
        )
    return images


def find_val(config: TrainConfig, images: ImageList, store: LabelStore) -> ImageList | None:
    """List the folder to evaluate on, or return None where there is none."""
    folder = config.val or val_folder(images.root)
    if folder is None:
        return None
    val = list_images(folder)
    match_classes(val, store.class_names())
    return val


def plan(config: TrainConfig, store: LabelStore, num_ranks: int) -> Schedule:
    """Return the schedule of a run; refuse a batch that the run or its processes cannot have."""
    schedule = Schedule(
        num_images=len(store.labelled_images()),
        num_crops=store.spec.num_crops,
        crops_per_image=config.crops_per_image,
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=config.seed,
        stagger=config.steps_apart,
    )
    if round(config.epochs * schedule.num_images / config.batch_size) == 0:
        raise ConfigError(
            f"--batch-size {config.batch_size} is more than the whole run: {config.epochs:g} epochs of "
            f"{schedule.num_images:,} images; choose a smaller batch or more --epochs"
        )
    if schedule.images_per_batch % num_ranks:
        raise ConfigError(
            f"--batch-size {config.batch_size} is {schedule.images_per_batch} images, which "
            f"{num_ranks} processes cannot share evenly; choose a multiple of "
            f"{config.crops_per_image * num_ranks}"
        )
    _refuse_too_many_waiting(schedule, store.spec.size, num_ranks)
    return schedule


def _refuse_too_many_waiting(schedule: Schedule, size: int, num_ranks: int) -> None:
    """Refuse to deal crops over so many steps that what waits for its step does not fit in memory."""
    waiting = schedule.reach * schedule.batch_size // num_ranks * 3 * size**2
    if waiting > physical_memory():
        raise ConfigError(
            f"--stagger {schedule.apart} with --crops-per-image {schedule.crops_per_image} keeps "
            f"{schedule.reach} batches waiting, {waiting / 2**30:.1f} GiB; this machine has "
            f"{physical_memory() / 2**30:.1f}; choose a smaller --stagger (0 keeps none) or fewer crops"
        )
