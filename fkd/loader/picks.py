"""Which views a step takes when not all stored crops are used: bits, and the arithmetic of their order.

Passes, rounds and the order of images are the schedule's. A visit takes those of its m crops that are
picked, which may be none. Batches are filled across visits to exactly B views: what does not fit at the
end of a visit begins the next batch. Views are numbered over the whole run, so a run can begin at
any step without a walk through the steps before.

Legend: N labelled images, M stored crops, m crops of a visit, n visits. Crop number t of a run is slot
t mod M in round t div M; a pass has m crop numbers.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fkd.loader.schedule import Schedule

Bools = NDArray[np.bool_]

# A pass, positions [n] in the list of labelled images, and which of its m crops are taken, bool [n, m].
PickedVisits = tuple[int, NDArray[np.int64], Bools]


class Picks:
    """The crops that a run takes, one bit each (32 MB for ImageNet at M = 200).

    A crop that is *sure* is taken in one of `sure_every` rounds only: that of image i and slot j in the
    rounds r with (i + j + r) mod `sure_every` = 0, so that each pass has its share of them.
    """

    def __init__(
        self, blocks: Iterable[tuple[Bools, Bools]], num_crops: int, sure_every: int = 1
    ) -> None:
        """Gather the picks of all images, block by block: (taken, sure), both bool [n, M].

        Of a crop that is not taken, sure has no meaning.
        """
        self._num_crops, self._every = num_crops, sure_every
        self.num_images = 0
        self._counts = np.zeros(
            (sure_every, num_crops), np.int64
        )  # of a slot in rounds r, r + every, …
        taken_bits, sure_bits = [], []
        for taken, sure in blocks:
            self._count(taken & ~sure, taken & sure)
            taken_bits.append(np.packbits(taken, axis=1))
            sure_bits.append(np.packbits(sure, axis=1))
            self.num_images += len(taken)
        self._taken = np.concatenate(taken_bits)
        self._sure = np.concatenate(sure_bits) if sure_every > 1 else None
        # Views before each crop number of the rounds 0 … sure_every - 1, which then come again.
        self._before = np.concatenate([[0], self._counts.reshape(-1).cumsum()])

    def _count(self, always: Bools, sometimes: Bools) -> None:
        """Add the views of some more images; the first of them is image `num_images`."""
        self._counts += always.sum(axis=0)
        slots = np.arange(self._num_crops)
        for first in range(min(self._every, len(sometimes))):
            rounds = -(self.num_images + first + slots) % self._every
            self._counts[rounds, slots] += sometimes[first :: self._every].sum(axis=0)

    def taken(self, number: int) -> Bools:
        """Return which images give a view at crop `number` of the run, bool [N]."""
        round_, slot = divmod(number, self._num_crops)
        taken = _column(self._taken, slot)
        if self._sure is None:
            return taken
        waits = _column(self._sure, slot)
        waits[-(slot + round_) % self._every :: self._every] = False
        return taken & ~waits

    def views_before(self, number: int) -> int:
        """Return how many views a run takes before crop `number`."""
        cycles, rest = divmod(number, len(self._before) - 1)
        return cycles * int(self._before[-1]) + int(self._before[rest])

    def batches(
        self, schedule: Schedule, first_step: int = 0, rank: int = 0, num_ranks: int = 1
    ) -> Iterator[Sequence[PickedVisits]]:
        """Yield, for every step from `first_step` on, the views that it takes, pass by pass.

        What a step takes is a function of the schedule and the picks alone. Of several ranks each takes a
        run of B / `num_ranks` views, so that an image is seldom decoded by two.
        """
        share = schedule.batch_size // num_ranks
        now: _Pass | None = None
        for step in range(first_step, schedule.total_steps):
            view = step * schedule.batch_size + rank * share
            stop = view + share
            parts: list[PickedVisits] = []
            while view < stop:
                if now is None or not now.first <= view < now.stop:
                    now = self._open(schedule, self._pass_of(schedule, view))
                end = min(stop, now.stop)
                parts.append(now.part(view, end))
                view = end
            yield parts

    def _pass_of(self, schedule: Schedule, view: int) -> int:
        """Return the pass that holds a view: the last one that begins at or before it."""
        m, period = schedule.crops_per_image, len(self._before) - 1
        cycles = view // int(self._before[-1]) + 1  # cycles that hold more than `view` views
        passes = range(cycles * period // m + 1)
        return bisect_right(passes, view, key=lambda index: self.views_before(index * m)) - 1

    def _open(self, schedule: Schedule, pass_index: int) -> "_Pass":
        """Work out what a pass takes of every image."""
        m, order = schedule.crops_per_image, schedule.visit_order(pass_index)
        numbers = range(pass_index * m, (pass_index + 1) * m)
        picked = np.stack([self.taken(number) for number in numbers], axis=1)
        num_views = picked.sum(axis=1)
        order = order[num_views[order] > 0]
        first = self.views_before(numbers.start)
        return _Pass(pass_index, first, order, picked, first + num_views[order].cumsum())


def whole_visits(
    schedule: Schedule, first_step: int = 0, rank: int = 0, num_ranks: int = 1
) -> Iterator[Sequence[PickedVisits]]:
    """Yield the steps of a run that takes all crops: what the schedule says, each visit whole."""
    for parts in schedule.batches(first_step, rank, num_ranks):
        yield [
            (index, positions, np.ones((len(positions), schedule.crops_per_image), np.bool_))
            for index, positions in parts
        ]


@dataclass(frozen=True)
class _Pass:
    """One pass over the images that give it views.

    `first` is the number of its first view, `order` int64 [n] the images as they are visited, `picked`
    bool [N, m] which crops it takes of every image, `ends` int64 [n] the view that follows each visit.
    """

    index: int
    first: int
    order: NDArray[np.int64]
    picked: Bools
    ends: NDArray[np.int64]

    @property
    def stop(self) -> int:
        """The number of the first view of the next pass."""
        return int(self.ends[-1])

    def part(self, view: int, stop: int) -> PickedVisits:
        """Return the visits of the views `view` … `stop` - 1, the outer ones cut where they must be."""
        begin = int(self.ends.searchsorted(view, side="right"))
        end = int(self.ends.searchsorted(stop, side="left")) + 1
        positions = self.order[begin:end]
        picked = self.picked[positions]
        before = self.ends[begin] - picked[0].sum()
        numbers = before + picked.reshape(-1).cumsum().reshape(picked.shape) - 1
        return self.index, positions, picked & (numbers >= view) & (numbers < stop)


def _column(bits: NDArray[np.uint8], slot: int) -> Bools:
    """Unpack one slot of all images, bool [N], from bits [N, ⌈M / 8⌉]."""
    byte, bit = divmod(slot, 8)
    column: Bools = (bits[:, byte] & (0x80 >> bit)) != 0
    return column
