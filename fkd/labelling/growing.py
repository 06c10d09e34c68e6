"""What a run adds to a store that is there: more crops of its images, and more images.

This room loads no torch: what cannot be added is refused before the teachers are loaded.
"""

import os
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fkd.amounts import as_count
from fkd.config import USUAL_MAP_SCHEME, USUAL_SCHEME, Grid, LabelConfig, Part, Scheme
from fkd.errors import FkdError, ImagesError, StoreError
from fkd.images import (
    MAX_NUM_BYTES,
    ImageList,
    Keys,
    changed_image,
    composed,
    fingerprint,
    take_part,
)
from fkd.progress import note, printable
from fkd.store import LabelStore

_NAMED = 3  # images that a line names

# How to get more of a store that no `fkd label` made, by who made it.
_REMEDIES = {
    "average": "grow the stores that it was made of, and average them again",
    "import": "its labels come from elsewhere; label another store with --out",
}


@dataclass(frozen=True)
class MatchedImages:
    """The images of a store among those that a run finds, and those that it has not.

    `images` has a row for each image of the store, by its index, and `there`, bool [N], says which are
    found. `added` are those of the run's part that the store has not.
    """

    images: ImageList
    there: NDArray[np.bool_]
    added: ImageList


def settled(config: LabelConfig) -> LabelConfig:
    """Return the configuration with M as a store at `config.out` has it, where nothing else is said."""
    if config.num_crops is not None or config.overwrite or not os.path.lexists(config.out):
        return config
    return replace(config, num_crops=most_crops(LabelStore.open(config.out)))


def kept_scheme(config: LabelConfig, grid: Grid) -> Scheme:
    """Return how labels on a `grid` are kept: as is said or, of their kind, usual.

    A store of maps at `config.out` that was begun as was usual once goes on so.
    """
    if config.scheme is not None or config.views.mix.mixes or len(grid) != 2:
        return config.kept
    return USUAL_SCHEME if _begun_as(USUAL_SCHEME, config) else USUAL_MAP_SCHEME


def _begun_as(scheme: Scheme, config: LabelConfig) -> bool:
    if config.overwrite or not os.path.lexists(config.out):
        return False
    try:
        return LabelStore.open(config.out).spec.scheme == scheme
    except FkdError:  # who goes on with it refuses it
        return False


def most_crops(store: LabelStore) -> int:
    """Return how many crops an image of a store has, or is to have."""
    return max(segment.crops.stop for segment in store.segments)


def match(
    config: LabelConfig, store: LabelStore, listed: ImageList, images: ImageList
) -> MatchedImages:
    """Match the images of a run, `images` of all that are `listed`, to those of its store.

    Raises `ImagesError` where they are others and, with `config.grow`, where one has changed or is of
    a class that the store has not. Raises `StoreError` for a store that is not labelled on.
    """
    _refuse_store(config, store)
    keys, num_bytes = store.image_paths(), store.num_bytes()
    if not config.grow:
        changed = changed_image(keys, num_bytes, images)
        if changed:
            raise _others(config, store, images, changed)
    found = images
    if (
        config.grow and config.part.subset is not None
    ):  # new images may be chosen in place of old ones
        found = take_part(Part(classes=config.part.classes), listed)
    rows = Keys.of(found.paths).places_of(keys)
    there = rows >= 0
    if not there.any():
        raise _others(config, store, images, f"none of {as_count(len(keys), 'image')} is there")
    placed = images if keys == Keys.of(images.paths) else found.placed(keys, rows)
    sizes = np.minimum(placed.num_bytes, MAX_NUM_BYTES)
    resized = np.flatnonzero(there & (sizes != num_bytes))
    if len(resized):
        at = int(resized[0])
        raise ImagesError(
            f"{placed.name(at)} has {sizes[at]:,} bytes, {num_bytes[at]:,} when it was labelled; restore "
            f"it, or use --out for another store or --overwrite to start anew"
        )
    new = np.flatnonzero(keys.places_of(Keys.of(images.paths)) < 0)
    matched = MatchedImages(placed, there, images.take(new))
    _refuse_classes(config, store, matched)
    return matched


def _refuse_store(config: LabelConfig, store: LabelStore) -> None:
    """Refuse a store that is not labelled on, and one of more crops than the run would give it."""
    spec, most = store.spec, most_crops(store)
    if spec.made_by:
        remedy = _REMEDIES.get(spec.made_by, "label another store with --out")
        raise StoreError(f"{config.out} was made by `fkd {spec.made_by}`, not labelled: {remedy}")
    copied = f"{config.out} is a copy of some images of a store"
    if spec.numbered and config.grow:
        raise StoreError(f"{copied}, and --grow adds to a whole one; grow that, and copy it again")
    if spec.numbered and len(store.segments[0].seals) < store.segments[0].spec.num_blocks:
        raise StoreError(f"{copied}, and unfinished; run the command that makes it again")
    if config.crops < most:
        raise StoreError(
            f"{config.out} has {as_count(most, 'crop')} an image, more than --crops {config.crops}; `fkd "
            f"copy --crops {config.crops}` writes a smaller store"
        )


def _others(config: LabelConfig, store: LabelStore, images: ImageList, changed: str) -> ImagesError:
    """Return the error for images that are not those of the store, and what is to be done."""
    now = f"{images.root} holds now"
    if not config.part.takes_all:
        now = f"{config.part} chooses of {images.root} now"
    a_part = store.spec.part or not config.part.takes_all
    remedy = "take the part that it was made from" if a_part else "restore them"
    if store.spec.numbered:
        remedy = "name the images of this copy with --subset FILE"
    grows = ""
    if changed.endswith(" is new") and not store.spec.numbered:
        grows = "; --grow labels what is new"
    return ImagesError(
        f"{config.out} was made from other images than {now}: {changed}; {remedy}, or use --out for "
        f"another store or --overwrite to start anew{grows}"
    )


def _refuse_classes(config: LabelConfig, store: LabelStore, matched: MatchedImages) -> None:
    """Refuse images of classes that the store has not, and classes that have lost all their images."""
    targets = store.targets()
    if targets is None or matched.images.unlabelled:
        return
    names, known = store.class_names(), matched.images.targets[matched.there]
    had = {composed(name) for name in names}
    for folder in np.setdiff1d(matched.added.targets, known).tolist():
        name = matched.images.classes[folder]
        if composed(name) not in had:
            raise ImagesError(
                f"class {printable(name)} is new, and the labels of {config.out} are over "
                f"{as_count(len(names), 'other class')}; use --out for a store of all classes"
            )
    left = np.unique(targets[matched.there])
    lost = np.setdiff1d(targets, left)
    if len(lost) and len(matched.images.classes) < len(left) + len(lost):
        raise ImagesError(
            f"class {printable(names[int(lost[0])])} of {config.out} has no image left in "
            f"{matched.images.root}; restore one"
        )


def refuse_missing(config: LabelConfig, store: LabelStore, matched: MatchedImages) -> None:
    """Raise `ImagesError` where crops of a missing image are to be labelled; else warn."""
    missing = np.flatnonzero(~matched.there)
    if not len(missing):
        return
    needed = _needed(config, store)
    wanted = missing[needed[missing]]
    if len(wanted):
        use = "mixed with others that are" if store.spec.mixes else "are"
        raise ImagesError(
            f"{printable(matched.images.paths[int(wanted[0])])} is missing in {matched.images.root}, and "
            f"crops of it {use} to be labelled; restore it ({as_count(len(wanted), 'image')} in all)"
        )
    named = ", ".join(printable(matched.images.paths[row]) for row in missing[:_NAMED].tolist())
    more = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
    note(
        f"warning: {len(missing):,} of {as_count(len(matched.there), 'image')} of {config.out} are not "
        f"in {matched.images.root}: {named}{more}; their labels stay as they are"
    )


def _needed(config: LabelConfig, store: LabelStore) -> NDArray[np.bool_]:
    """Return which images of a store are decoded to label what it has not, bool [N]."""
    needed: NDArray[np.bool_] = store.finished_crops() < config.crops
    if store.spec.mixes:  # any image may be the partner of one that was added with it
        for images in {segment.images for segment in store.segments}:
            needed[images.start : images.stop] = needed[images.start : images.stop].any()
    return needed


def grow(
    config: LabelConfig,
    store: LabelStore,
    added: ImageList,
    target_of: NDArray[np.int64],
) -> LabelStore:
    """Begin the segments of what a run adds to a store, and return it, open to be written.

    `target_of`, int64 [classes], is the store's class of each class of the images.
    """
    if config.crops > store.spec.num_crops:
        store.add_crops(config.crops)
        store = LabelStore.open(config.out, writable=True)
    if len(added):
        targets = None if added.unlabelled else target_of[added.targets]
        store.add_images(added, targets, fingerprint(added.paths, added.num_bytes))
    elif config.grow and not store.pending_blocks():
        note(f"--grow: there is no image that {config.out} has not")
    return LabelStore.open(config.out, writable=True)
