"""`fkd copy`: a store, or a part of it, in another place."""

import os
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir

import numpy as np
from numpy.typing import NDArray

from fkd.config import CopyConfig, Url, as_config
from fkd.copying.carry import carry_store
from fkd.copying.derived import Derived, block_images, fill
from fkd.copying.inputs import check_inputs
from fkd.copying.report import store_words
from fkd.copying.rows import Gathering, SourceRows
from fkd.errors import ConfigError, StoreError
from fkd.files import is_zip
from fkd.images import in_part
from fkd.labels import check_narrowing
from fkd.progress import note_lines
from fkd.store import Block, LabelStore


def copy_store(config: CopyConfig) -> LabelStore:
    """Copy a store, or some of its images and crops, or their labels in fewer bytes; return the copy.

    Images keep their order, and the numbers that their views are drawn by. Labels in another scheme are
    made of the stored ones, as `fkd.labels.narrowed` says. A run that was ended goes on where it stood.
    Raises `FkdError` for bad input, before anything is written.
    """
    as_config(config, CopyConfig)
    check_inputs([config.store], config.out)
    if config.takes_all:
        carry_store(config.store, config.out, overwrite=config.overwrite)
        return LabelStore.open(config.out)
    if isinstance(config.out, Url) or is_zip(config.out):
        return _by_way_of_a_folder(config, config.out)
    return _derive(config, config.out)


def _derive(config: CopyConfig, out: Path) -> LabelStore:
    """Make a chosen copy in a folder, or go on with it."""
    store = LabelStore.open(config.store)
    store.require_complete()
    chosen = _chosen_images(config, store)
    derived = _planned(config, out, store, chosen)
    note_lines(
        [
            ("from", store_words(config.store, store.spec)),
            ("to", store_words(out, derived.spec)),
        ]
    )
    rows = SourceRows(store, derived.spec.num_crops)

    def block_of(images: range, block: Block) -> Block:
        gathering = Gathering(block, derived.spec)
        for places, some in rows.parts(chosen[images.start : images.stop]):
            gathering.put(places, some, store.spec)
        return gathering.finish()

    return fill(derived, block_of, config.workers)


def _by_way_of_a_folder(config: CopyConfig, out: Path | Url) -> LabelStore:
    """Make a chosen copy in a folder, and carry it to a .zip or an address.

    The folder is beside the archive, or in this machine's temporary folder for an address, and goes when
    all is there. A run that was ended finds it again by what was chosen.
    """
    choice = sha256(repr(replace(config, overwrite=False, workers=1)).encode()).hexdigest()[:12]
    beside = out.parent if isinstance(out, Path) else Path(gettempdir())
    folder = beside / f".{out.name}.{choice}.chosen"
    if isinstance(out, Path) and os.path.lexists(out) and not config.overwrite:
        raise StoreError(f"{out} is there already; give another name, or --overwrite")
    _derive(replace(config, overwrite=False), folder)
    carry_store(folder, out, overwrite=config.overwrite)
    shutil.rmtree(folder)
    return LabelStore.open(out)


def _chosen_images(config: CopyConfig, store: LabelStore) -> NDArray[np.int64]:
    """Return the indices, int64 [n], of the images that are copied, rising."""
    if config.part.takes_all:
        return np.arange(store.spec.num_images)
    where = str(config.store)
    paths, targets, classes = store.image_paths(), store.targets(), store.class_names()
    return np.flatnonzero(in_part(config.part, paths, targets, classes, where))


def _planned(
    config: CopyConfig, out: Path, store: LabelStore, chosen: NDArray[np.int64]
) -> Derived:
    """Settle what the copy will be; raises `FkdError` for what the store does not have."""
    spec, targets = store.spec, store.targets()
    scheme = config.scheme or spec.scheme
    check_narrowing(spec.scheme, scheme, config.store)
    num_crops = config.num_crops or spec.num_crops
    if num_crops > spec.num_crops:
        raise ConfigError(
            f"--crops {num_crops}: {config.store} has {spec.num_crops} crops an image; give fewer, or "
            f"label more by `fkd label --crops {num_crops}`"
        )
    if scheme.coarse and store.content_hashes() is None:
        raise ConfigError(
            f"--compress {scheme}: {config.store} is of format version 1, which has no coarse labels; "
            "choose another scheme, or label the images anew"
        )
    numbers = store.image_numbers()[chosen]
    return Derived.of(
        "fkd copy",
        out,
        store,
        store.image_paths().take(chosen),
        store.num_bytes()[chosen],
        None if targets is None else targets[chosen],
        overwrite=config.overwrite,
        each_block=block_images(store, scheme),
        num_crops=num_crops,
        scheme=scheme,
        numbered=not np.array_equal(numbers, np.arange(len(numbers))),
        part=spec.part or not config.part.takes_all,
    )
