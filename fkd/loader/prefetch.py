"""Slabs of stored crops: the one in use, and the next on its way from disk.

With them comes what their views are mixed with.
"""

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fkd.loader.schedule import Schedule
from fkd.store import LabelStore, Slab, StoredMixes
from fkd.views import Mixes

# Crops that are read at once where a pass has fewer. A read costs 10 ms however small it is, and a
# data set of 200 images would read every tenth of a second.
_CROPS_AT_ONCE = 2**18

# Images whose mixes are drawn at a time: it bounds the memory of numbers that are drawn on the way.
_IMAGES_AT_ONCE = 2**16


@dataclass(frozen=True)
class StoredViews:
    """m crops of all N images of a store, and how they are mixed, [N, m], None where they are not."""

    slab: Slab
    mixes: Mixes | None

    @classmethod
    def read(
        cls, store: LabelStore, mixes: StoredMixes | None, slots: Sequence[int]
    ) -> "StoredViews":
        """Read the crops `slots`; raises `BlockError` for what is not as it was labelled."""
        slab = store.read_crops(slots)
        if mixes is None:
            return cls(slab, None)
        count = store.spec.num_images
        parts = [
            mixes.of(np.arange(first, min(first + _IMAGES_AT_ONCE, count)), np.array(slots))
            for first in range(0, count, _IMAGES_AT_ONCE)
        ]
        return cls(slab, Mixes.concatenate(parts))


class SlabPrefetcher:
    """Gives out rows of slabs, by pass.

    A slab has the crops of one pass; with a small data set those of several passes, at most all M.
    """

    def __init__(
        self,
        pool: Executor,
        store: LabelStore,
        schedule: Schedule,
        mixes: StoredMixes | None = None,
    ) -> None:
        """Read by the threads of `pool`; `mixes` are the store's."""
        self._pool = pool
        self._store, self._mixes = store, mixes
        self._schedule = schedule
        per_slab = _CROPS_AT_ONCE // (store.spec.num_images * schedule.crops_per_image)
        all_crops = -(-schedule.num_crops // schedule.crops_per_image)
        self._passes_per_slab = max(1, min(per_slab, all_crops))
        self._slabs: dict[tuple[int, ...], Future[StoredViews]] = {}

    def rows(self, pass_index: int, image_index: NDArray[np.int64]) -> Slab:
        """Return the crops that a pass takes of these images, [n, m, …]."""
        views, columns = self._of_pass(pass_index)
        return views.slab.take(image_index, columns)

    def mixes(self, pass_index: int, image_index: NDArray[np.int64]) -> Mixes:
        """Return how these crops are mixed, [n, m], of a store whose views are."""
        views, columns = self._of_pass(pass_index)
        assert views.mixes is not None
        return views.mixes[image_index[:, None], columns]

    def _of_pass(self, pass_index: int) -> tuple[StoredViews, NDArray[np.int64]]:
        """Return what holds the crops of a pass, and their columns in it."""
        number = pass_index // self._passes_per_slab
        now, soon = self._slots(number), self._slots(number + 1)
        self._slabs = {
            slots: self._slabs.get(slots) or self._pool.submit(self._read, slots)
            for slots in dict.fromkeys((now, soon))
        }
        where = {slot: column for column, slot in enumerate(now)}
        columns = [where[slot] for slot in self._schedule.crop_slots(pass_index).tolist()]
        return self._slabs[now].result(), np.array(columns)

    def _read(self, slots: tuple[int, ...]) -> StoredViews:
        return StoredViews.read(self._store, self._mixes, slots)

    def _slots(self, number: int) -> tuple[int, ...]:
        m, num_crops = self._schedule.crops_per_image, self._schedule.num_crops
        count = self._passes_per_slab * m
        if count >= num_crops:
            return tuple(range(num_crops))
        return tuple(((number * count + np.arange(count)) % num_crops).tolist())
