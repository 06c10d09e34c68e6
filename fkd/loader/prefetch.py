"""Slabs of stored crops: the one in use, and the next on its way from disk."""

from concurrent.futures import Executor, Future

import numpy as np
from numpy.typing import NDArray

from fkd.loader.schedule import Schedule
from fkd.store import LabelStore, Slab

# Crops that are read at once where a pass has fewer. A read costs 10 ms however small it is, and a
# data set of 200 images would read every tenth of a second.
_CROPS_AT_ONCE = 2**18


class SlabPrefetcher:
    """Gives out rows of slabs, by pass.

    A slab has the crops of one pass; with a small data set those of several passes, at most all M.
    """

    def __init__(self, pool: Executor, store: LabelStore, schedule: Schedule) -> None:
        """Read by the threads of `pool`."""
        self._pool = pool
        self._store = store
        self._schedule = schedule
        per_slab = _CROPS_AT_ONCE // (store.spec.num_images * schedule.crops_per_image)
        all_crops = -(-schedule.num_crops // schedule.crops_per_image)
        self._passes_per_slab = max(1, min(per_slab, all_crops))
        self._slabs: dict[tuple[int, ...], Future[Slab]] = {}

    def rows(self, pass_index: int, image_index: NDArray[np.int64]) -> Slab:
        """Return the crops that a pass takes of these images, [n, m, …]."""
        number = pass_index // self._passes_per_slab
        now, soon = self._slots(number), self._slots(number + 1)
        self._slabs = {
            slots: self._slabs.get(slots) or self._pool.submit(self._store.read_crops, slots)
            for slots in dict.fromkeys((now, soon))
        }
        where = {slot: column for column, slot in enumerate(now)}
        columns = [where[slot] for slot in self._schedule.crop_slots(pass_index).tolist()]
        return self._slabs[now].result().take(image_index, np.array(columns))

    def _slots(self, number: int) -> tuple[int, ...]:
        m, num_crops = self._schedule.crops_per_image, self._schedule.num_crops
        count = self._passes_per_slab * m
        if count >= num_crops:
            return tuple(range(num_crops))
        return tuple(((number * count + np.arange(count)) % num_crops).tolist())
