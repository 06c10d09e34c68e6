"""`fkd average`: the mean of several stores' labels of the same views."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkd.config import as_config
from fkd.copying.derived import Derived, block_images, fill
from fkd.copying.inputs import check_inputs
from fkd.copying.report import store_words
from fkd.copying.rows import run_fidelity
from fkd.copying.same_views import refuse_other_views, refuse_vectors, unlike
from fkd.copying.through_folder import made_at
from fkd.labels import (
    StoredArray,
    averaged,
    averaged_fidelity,
    check_averaging,
    mean_measures,
    mean_scheme,
)
from fkd.orders import AverageConfig
from fkd.progress import note_lines
from fkd.store import Block, LabelStore, Slab, StoredMixes


def average_stores(config: AverageConfig) -> LabelStore:
    """Make a store of the mean of several stores' labels of the same views, and return it.

    The mean is what `fkd.labels.averaged` says: of labels of all classes it is the teachers' own. An
    image that one of the stores has no labels of has none. A run that was ended goes on where it stood.
    Raises `FkdError` for bad input, before anything is written.
    """
    as_config(config, AverageConfig)
    check_inputs(config.stores, config.out, overwrite=config.overwrite)
    stores = [LabelStore.open(path) for path in config.stores]
    for store in stores:
        store.require_complete()
        refuse_vectors(store)
    scheme = mean_scheme(config.scheme, stores[0].spec.scheme)
    check_averaging([(store.path, store.spec.scheme) for store in stores], scheme)
    for store in stores[1:]:
        refuse_other_views(stores[0], store)

    def make(folder: Path, overwrite: bool) -> LabelStore:
        derived = _planned(config, stores, folder, overwrite)
        shares = zip(stores, config.shares, strict=True)
        lines = [("from", f"{store_words(store)}, weight {share:.4g}") for store, share in shares]
        lines.append(("to", derived.words()))
        if stores[0].spec.scheme.deviation and config.scheme is None:
            lines.append(
                ("", "without the deviation of logits, which labels of few classes do not tell")
            )
        note_lines(lines)
        mean = _Mean(stores, config.shares, derived)
        return fill(derived, mean.block, config.workers)

    return made_at(config.out, make, overwrite=config.overwrite)


def _planned(
    config: AverageConfig, stores: Sequence[LabelStore], folder: Path, overwrite: bool
) -> Derived:
    """Settle what the store of the mean will be."""
    first = stores[0]
    scheme = mean_scheme(config.scheme, first.spec.scheme)
    return Derived.of(
        "fkd average",
        folder,
        first,
        first.image_paths(),
        first.num_bytes(),
        first.targets(),
        overwrite=overwrite,
        each_block=block_images(first, scheme),
        scheme=scheme,
        teachers=tuple(teacher for store in stores for teacher in store.spec.teachers),
        weights=_teacher_weights(config, stores),
        amp=next((store.spec.amp for store in stores if store.spec.amp != "off"), "off"),
        created=max(store.spec.created for store in stores),
        made_by="average",
    )


def _teacher_weights(config: AverageConfig, stores: Sequence[LabelStore]) -> tuple[float, ...]:
    """Return what each teacher counts, or nothing where all count alike."""
    weights: list[float] = []
    for store, share in zip(stores, config.shares, strict=True):
        own = store.spec.weights or (1 / len(store.spec.teachers),) * len(store.spec.teachers)
        weights += [share * each for each in own]
    return () if np.allclose(weights, weights[0], rtol=1e-9) else tuple(weights)


class _Mean:
    """Fills blocks with the mean of the stores' labels."""

    def __init__(
        self, stores: Sequence[LabelStore], shares: Sequence[float], derived: Derived
    ) -> None:
        self._stores, self._shares, self._derived = stores, shares, derived
        self._status = np.stack([store.status() for store in stores])
        hashes = [store.content_hashes() for store in stores]
        self._hashes = next((each for each in hashes if each is not None), None)
        self._hashes_of_truth = stores[0].truth_hashes()
        self._numbers = stores[0].image_numbers()
        runs = [store.image_runs() for store in stores]
        # Images between two cuts are of one block in every store.
        self._cuts = np.unique([run.start for each in runs for run in each])
        self._starts = [np.array([run.start for run in each]) for each in runs]
        self._fidelity = [run_fidelity(store, store.spec.num_crops) for store in stores]
        self._mixes = [StoredMixes.of_store(store) for store in stores]

    def block(self, images: range, block: Block) -> Block:
        """Fill the block of some images."""
        inside = self._cuts[(self._cuts > images.start) & (self._cuts < images.stop)].tolist()
        measures, counts = [], []
        for start, stop in pairwise([images.start, *inside, images.stop]):
            run, rows = range(start, stop), slice(start - images.start, stop - images.start)
            slabs = [store.read(run, range(store.spec.num_crops)) for store in self._stores]
            self._put_images(block, rows, run, slabs)
            self._put_mixes(block, rows, run)
            labelled = block.status[rows] == 0
            kept = [
                store.spec.labels.rows({name: v[labelled] for name, v in slab.kept.items()})
                for store, slab in zip(self._stores, slabs, strict=True)
            ]
            measures.append(self._put_labels(block, rows, run, kept))
            counts.append(int(labelled.sum()))
        block.fidelity[:] = mean_measures(np.array(measures), np.array(counts))
        if self._derived.spec.numbered:
            block.image_number = self._numbers[images.start : images.stop].astype(np.uint64)
        return block

    def _put_images(self, block: Block, rows: slice, run: range, slabs: Sequence[Slab]) -> None:
        """Put what a block says of the images of a `run` into its `rows`."""
        status = self._status[:, run.start : run.stop]
        self._refuse_other_boxes(slabs, status, run)
        # What a store that has no labels of an image says of it goes with that.
        whose = status.argmax(axis=0)
        for number, slab in enumerate(slabs):
            these = np.flatnonzero(whose == number)
            at = rows.start + these
            block.box[at], block.flip[at] = slab.box[these], slab.flip[these]
            block.size[at] = slab.size[these]
        block.status[rows] = status.max(axis=0)
        if self._hashes is not None:
            hashes = self._hashes[run.start : run.stop]
            block.content_hash[rows] = np.where(block.status[rows] == 0, hashes, 0)
        if self._hashes_of_truth is not None and block.truth_hash is not None:
            hashes = self._hashes_of_truth[run.start : run.stop]
            block.truth_hash[rows] = np.where(block.status[rows] == 0, hashes, 0)

    def _put_mixes(self, block: Block, rows: slice, run: range) -> None:
        """Put how a run's crops are mixed into a block's rows; raises `StoreError` for other mixes."""
        crops, labelled = np.arange(self._stores[0].spec.num_crops), block.status[rows] == 0
        images, first = np.array(run)[labelled], None
        for number, mixes in enumerate(self._mixes):
            found = None if mixes is None else mixes.of(images, crops)
            first = found if number == 0 else first
            if first is None or found is None:
                continue
            other = first.unlike(found).any(axis=1)
            if other.any():
                path = self._stores[0].image_paths()[int(images[other.argmax()])]
                difference = f"{path} is mixed with other views"
                raise unlike(self._stores[0], self._stores[number], difference)
        if first is not None and block.mixes is not None and block.partner_content is not None:
            assert self._hashes is not None
            places = np.arange(rows.start, rows.stop)[labelled]
            block.mixes[places], block.partner_content[places] = first, self._hashes[first.image]

    def _put_labels(
        self, block: Block, rows: slice, run: range, kept: Sequence[dict[str, StoredArray]]
    ) -> NDArray[np.float32]:
        """Put the mean of `kept`, rows of labels, into a block's rows; return their fidelity, f32 [6]."""
        spec, labelled = self._derived.spec, block.status[rows] == 0
        schemes = [store.spec.scheme for store in self._stores]
        mean = averaged(kept, schemes, self._shares, spec.scheme, spec.num_classes)
        for name, values in spec.labels.by_view(mean).items():
            block.kept[name][rows][labelled] = values
        before = [
            fidelity[np.searchsorted(starts, run.start, side="right") - 1]
            for fidelity, starts in zip(self._fidelity, self._starts, strict=True)
        ]
        return averaged_fidelity(
            before, kept, schemes, self._shares, mean, spec.scheme, spec.num_classes
        )

    def _refuse_other_boxes(
        self, slabs: Sequence[Slab], status: NDArray[np.uint8], run: range
    ) -> None:
        """Raise `StoreError` where two stores have other boxes of an image that both have labels of."""
        first = slabs[0]
        for number, slab in enumerate(slabs[1:], 1):
            same = (slab.box == first.box).all(axis=(1, 2)) & (slab.flip == first.flip).all(axis=1)
            other = ~same & (status[0] == 0) & (status[number] == 0)
            if other.any():
                path = self._stores[0].image_paths()[run.start + int(other.argmax())]
                raise unlike(self._stores[0], self._stores[number], f"{path} has other boxes")
