"""`fkd copy`: a store, or a part of it, in another place."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkd.amounts import as_count
from fkd.config import Url, as_config
from fkd.copying.carry import carry_store
from fkd.copying.derived import Derived, block_images, fill
from fkd.copying.inputs import check_inputs
from fkd.copying.report import store_words
from fkd.copying.rows import Gathering, SourceRows
from fkd.copying.through_folder import made_at
from fkd.errors import ConfigError, StoreError
from fkd.images import in_part
from fkd.labels import check_narrowing
from fkd.orders import CopyConfig
from fkd.progress import note, note_lines
from fkd.store import Block, LabelStore


def copy_store(config: CopyConfig) -> LabelStore:
    """Copy a store, or some of its images and crops, or their labels in fewer bytes; return the copy.

    Where nothing is chosen, it is carried byte for byte, as far as it is labelled. Both places may be a
    folder, a .zip or an address of either.

    Images keep their order, and the numbers that their views are drawn by. Labels in another scheme are
    made of the stored ones, as `fkd.labels.narrowed` says. A run that was ended goes on where it stood.
    Raises `FkdError` for bad input, before anything is written.
    """
    as_config(config, CopyConfig)
    check_inputs([config.store], config.out, overwrite=config.overwrite)
    if config.takes_all:
        if not config.overwrite and _is_there(config.store, config.out):
            note(f"{config.out} is there and is the same store: there is nothing to do")
            return LabelStore.open(config.out)
        carry_store(config.store, config.out, overwrite=config.overwrite)
        return LabelStore.open(config.out)
    store = LabelStore.open(config.store)
    store.require_complete()
    _refuse_all_gone(config, store)
    store = store.of_targets([n for n in store.spec.vectors if n not in config.without])
    chosen = _chosen_images(config, store)

    def make(folder: Path, overwrite: bool) -> LabelStore:
        return _copied(
            store, chosen, _planned(config, store, chosen, folder, overwrite), config.workers
        )

    return made_at(config.out, make, overwrite=config.overwrite)


def _refuse_all_gone(config: CopyConfig, store: LabelStore) -> None:
    """Raise `FkdError` for vectors that the store has not, and a copy that would keep nothing."""
    for name in config.without:
        store.vectors(name)
    if not store.spec.labels.there and not set(store.spec.vectors) - {*config.without}:
        raise ConfigError(
            f"--without {' '.join(config.without)} leaves nothing: {config.store} has no labels; name "
            "fewer vectors"
        )


def _is_there(source: Path | Url, out: Path | Url) -> bool:
    """Say whether a copy has been made already: by all its settings and seals."""
    if isinstance(out, Url) or not os.path.lexists(out):
        return False
    try:
        return LabelStore.open(out).digest() == LabelStore.open(source).digest()
    except StoreError:
        return False


def _copied(
    store: LabelStore, chosen: NDArray[np.int64], derived: Derived, workers: int
) -> LabelStore:
    """Write the chosen images, int64 [n], to the planned store."""
    note_lines([("from", store_words(store)), ("to", derived.words())])
    rows = SourceRows(store, derived.spec.num_crops)

    def block_of(images: range, block: Block) -> Block:
        gathering = Gathering(block, derived.spec)
        for places, some in rows.parts(chosen[images.start : images.stop]):
            gathering.put(places, some, store.spec)
        return gathering.finish()

    return fill(derived, block_of, workers)


def _chosen_images(config: CopyConfig, store: LabelStore) -> NDArray[np.int64]:
    """Return the indices, int64 [n], of the images that are copied, rising."""
    if config.part.takes_all:
        return np.arange(store.spec.num_images)
    if store.spec.mixes:
        raise ConfigError(
            f"{config.store} has views that are mixed with those of other images, so that a part of the "
            "images does not do; copy all of them (`fkd train` trains on a part of a whole store)"
        )
    where = str(config.store)
    paths, targets, classes = store.image_paths(), store.targets(), store.class_names()
    return np.flatnonzero(in_part(config.part, paths, targets, classes, where))


def _planned(
    config: CopyConfig,
    store: LabelStore,
    chosen: NDArray[np.int64],
    folder: Path,
    overwrite: bool,
) -> Derived:
    """Settle what the copy will be; raises `FkdError` for what the store does not have."""
    spec, targets = store.spec, store.targets()
    scheme = config.scheme or spec.scheme
    check_narrowing(spec.scheme, scheme, config.store)
    num_crops = config.num_crops or spec.num_crops
    if num_crops > spec.num_crops:
        raise ConfigError(
            f"--crops {num_crops}: {config.store} has {as_count(spec.num_crops, 'crop')} an image; give "
            f"fewer, or label more by `fkd label --crops {num_crops}`"
        )
    if (scheme.coarse or scheme.deviation) and store.content_hashes() is None:
        what = "coarse labels" if scheme.coarse else "deviations"
        raise ConfigError(
            f"--compress {scheme}: {config.store} is of format version 1, which has no {what}; "
            "choose another scheme, or label the images anew"
        )
    numbers = store.image_numbers()[chosen]
    return Derived.of(
        "fkd copy",
        folder,
        store,
        store.image_paths().take(chosen),
        store.num_bytes()[chosen],
        None if targets is None else targets[chosen],
        overwrite=overwrite,
        each_block=block_images(store, scheme, config.without),
        targets=tuple(one for one in spec.targets if one.name not in config.without),
        num_crops=num_crops,
        scheme=scheme,
        numbered=not np.array_equal(numbers, np.arange(len(numbers))),
        part=spec.part or not config.part.takes_all,
    )
