"""`fkd merge`: stores of different images become one."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkd.amounts import as_count
from fkd.config import as_config
from fkd.copying.derived import Derived, fill
from fkd.copying.inputs import check_inputs
from fkd.copying.report import store_words
from fkd.copying.rows import Gathering, SourceRows
from fkd.copying.through_folder import made_at
from fkd.errors import StoreError
from fkd.images import Keys, key_order
from fkd.orders import MergeConfig
from fkd.progress import note_lines
from fkd.store import Block, LabelStore

_SHOWN = 3  # names of classes in a message


def merge_stores(config: MergeConfig) -> LabelStore:
    """Make one store of the images of several, which were labelled alike and share no image; return it.

    Images stand in the order in which one folder of all lists them, and keep the numbers that their
    views are drawn by. A run that was ended goes on where it stood. Raises `FkdError` for bad input,
    before anything is written.
    """
    as_config(config, MergeConfig)
    check_inputs(config.stores, config.out, overwrite=config.overwrite)
    stores = [LabelStore.open(path) for path in config.stores]
    for store in stores:
        store.require_complete()
        if store.spec.mixes:
            raise StoreError(
                f"{store.path} cannot be merged: its views are mixed with those of images that follow "
                "from their order; label all images together instead"
            )
    for store in stores[1:]:
        _refuse_unlike(stores[0], store)
    order = _order(stores)

    def make(folder: Path, overwrite: bool) -> LabelStore:
        return _merged(stores, order, _planned(stores, order, folder, overwrite), config.workers)

    return made_at(config.out, make, overwrite=config.overwrite)


def _merged(
    stores: Sequence[LabelStore], order: NDArray[np.int64], derived: Derived, workers: int
) -> LabelStore:
    """Write the images of all stores to the planned one, in their `order`, int64 [N]."""
    _announce(stores, derived)
    starts = np.cumsum([0, *(store.spec.num_images for store in stores)])
    rows = [_source(store, workers) for store in stores]

    def block_of(images: range, block: Block) -> Block:
        gathering, these = Gathering(block, derived.spec), order[images.start : images.stop]
        for source, first, stop in zip(rows, starts[:-1], starts[1:], strict=True):
            of_it = np.flatnonzero((these >= first) & (these < stop))
            for places, some in source.parts(these[of_it] - first):
                gathering.put(of_it[places], some, source.store.spec)
        return gathering.finish()

    return fill(derived, block_of, workers)


def _source(store: LabelStore, workers: int) -> SourceRows:
    """Read a source whose images come in rising order, in each of its segments."""
    return SourceRows(store, store.spec.num_crops, kept_blocks=len(store.segments) + workers)


def _refuse_unlike(first: LabelStore, other: LabelStore) -> None:
    """Raise `StoreError` unless both stores were labelled alike, over the same classes."""
    difference = _other_kind(first, other)
    if difference is None:
        alike = replace(other.spec, block_images=first.spec.block_images)
        difference = first.spec.first_difference(alike)
    if difference is None and first.spec.weights != other.spec.weights:
        difference = "the weights of its teachers are others"
    if difference is None and (first.content_hashes() is None) != (other.content_hashes() is None):
        difference = "one of the two has format version 1, without hashes of the images"
    if difference is None and first.spec.targets != other.spec.targets:
        difference = (
            "its vectors are in codes that were learned of other views; label all images in one "
            "store, or with --grow"
        )
    if difference is not None:
        difference = difference.replace(", the store has ", f", {first.path} has ")
        raise StoreError(f"{other.path} cannot be merged with {first.path}: {difference}")
    pairs = zip(first.class_names(), other.class_names(), strict=True)
    for number, (had, has) in enumerate(pairs):
        if had != has:
            raise StoreError(
                f"{other.path} cannot be merged with {first.path}: its class {number} is {has}, not {had}"
            )


def _other_kind(first: LabelStore, other: LabelStore) -> str | None:
    """Say where one store has labels and the other none, or none has and classes differ.

    The settings of both differ then, too, in which outputs are which classes: what vectors do not ask.
    """
    labels, others = first.spec.labels.there, other.spec.labels.there
    if labels != others:
        kept = ("vectors and no labels", "labels")
        return f"it holds {kept[others]}, {first.path} has {kept[labels]}"
    had, has = first.class_names(), other.class_names()
    if labels or had == has:
        return None
    return (
        f"its images are of {_class_words(has)}, those of {first.path} of {_class_words(had)}; label "
        "parts of one folder (--subset), or all images without their classes (--unlabelled)"
    )


def _class_words(names: Sequence[str]) -> str:
    few = ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
    return f"{as_count(len(names), 'class')} ({few})"


def _order(stores: Sequence[LabelStore]) -> NDArray[np.int64]:
    """Return the images of all stores, numbered through, in the order of their keys; int64 [N]."""
    keys = [key for store in stores for key in store.image_paths()]
    order = sorted(range(len(keys)), key=lambda row: key_order(keys[row]))
    for one, other in pairwise(order):
        if keys[one] == keys[other]:
            mine, theirs = (_store_of(stores, row).path for row in (one, other))
            raise StoreError(
                f"{theirs} cannot be merged with {mine}: both have {keys[one]}; leave it out of one by "
                "`fkd copy --images FILE`, which lists those that stay"
            )
    return np.array(order, np.int64)


def _store_of(stores: Sequence[LabelStore], row: int) -> LabelStore:
    """Return the store that has an image, by its number through all."""
    stops = accumulate(store.spec.num_images for store in stores)
    return next(store for store, stop in zip(stores, stops, strict=True) if row < stop)


def _planned(
    stores: Sequence[LabelStore], order: NDArray[np.int64], folder: Path, overwrite: bool
) -> Derived:
    """Settle what the merged store will be."""
    first = stores[0].spec
    paths = Keys.of(key for store in stores for key in store.image_paths())
    targets = [store.targets() for store in stores]
    known = [each for each in targets if each is not None]
    numbers = np.concatenate([store.image_numbers() for store in stores])[order]
    titled = next((store for store in stores if store.spec.class_title_bytes), stores[0])
    return Derived.of(
        "fkd merge",
        folder,
        titled,
        paths.take(order),
        np.concatenate([store.num_bytes() for store in stores])[order],
        None if len(known) < len(targets) else np.concatenate(known)[order],
        overwrite=overwrite,
        each_block=None,
        images_root=first.images_root,
        created=max(store.spec.created for store in stores),
        numbered=not np.array_equal(numbers, np.arange(len(numbers))),
        part=any(store.spec.part for store in stores),
        made_by=max(store.spec.made_by for store in stores),
    )


def _announce(stores: Sequence[LabelStore], derived: Derived) -> None:
    lines = [("from", store_words(store)) for store in stores]
    lines.append(("to", derived.words()))
    roots = sorted({store.spec.images_root for store in stores})
    if len(roots) > 1:
        lines.append(
            (
                "images",
                f"are in {', '.join(roots)}; one place must have them all, named with --images",
            )
        )
    note_lines(lines)
