"""Which classes the teacher takes for which: crops by pair of the folder's class and the top-1.

C classes have C² pairs. Those that occur are kept, and they are no more than the crops of a sweep.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fkd.statistics.measured import MeasuredCrops

MOST_PAIRS, MOST_CLASSES = 100, 12
_HELD = 2**20  # pairs that wait until they are counted


@dataclass(frozen=True)
class Confusion:
    """Crops whose top-1 is another class than the image's, by pair.

    They are `num_crops` crops of `num_pairs` different pairs. Of the p ≤ 100 pairs with most crops, the
    largest first, `target`, `top_class` and `crops` are int64 [p]; `share` f64 [p] is of all crops of the
    target. `class_id` int64 [k] has the k ≤ 12 classes of the first pairs, or all where there are no
    more. `matrix` int64 [k, k + 1] counts crops of class i whose top-1 is class j, and last any other.
    """

    num_crops: int
    num_pairs: int
    target: NDArray[np.int64] = field(repr=False)
    top_class: NDArray[np.int64] = field(repr=False)
    crops: NDArray[np.int64] = field(repr=False)
    share: NDArray[np.float64] = field(repr=False)
    class_id: NDArray[np.int64] = field(repr=False)
    matrix: NDArray[np.int64] = field(repr=False)


class ConfusionTally:
    """Counts of the pairs so far, each under its code target · C + top-1."""

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._codes, self._counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._held: list[NDArray[np.int64]] = []
        self._num_held = 0

    def add(self, crops: MeasuredCrops) -> None:
        """Count crops of a piece of the sweep, whose images have classes."""
        assert crops.target is not None
        assert crops.agrees is not None
        other = ~crops.agrees
        codes = crops.target[other] * self._num_classes + crops.top_class[other]
        self._held.append(codes.numpy())
        self._num_held += len(codes)
        if self._num_held > max(_HELD, len(self._codes)):
            self._merge()

    def _merge(self) -> None:
        codes, counts = np.unique(np.concatenate(self._held), return_counts=True)
        both = np.concatenate([self._codes, codes])
        self._codes, place = np.unique(both, return_inverse=True)
        merged = np.zeros(len(self._codes), np.int64)
        np.add.at(merged, place, np.concatenate([self._counts, counts]))
        self._counts, self._held, self._num_held = merged, [], 0

    def finish(self, crops: NDArray[np.float64], agreeing: NDArray[np.float64]) -> Confusion:
        """Choose the largest pairs; of each class, f64 [C], `crops` are all and `agreeing` name it."""
        if self._held:
            self._merge()
        target, top_class = np.divmod(self._codes, self._num_classes)
        order = np.lexsort((self._codes, -self._counts))[:MOST_PAIRS]
        class_id = self._classes(target[order], top_class[order])
        return Confusion(
            int(self._counts.sum()),
            len(self._codes),
            target[order],
            top_class[order],
            self._counts[order],
            self._counts[order] / np.maximum(1, crops[target[order]]),
            class_id,
            self._matrix(class_id, crops, agreeing),
        )

    def _classes(
        self, target: NDArray[np.int64], top_class: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        if self._num_classes <= MOST_CLASSES:
            return np.arange(self._num_classes)
        chosen: set[int] = set()
        for pair in zip(target.tolist(), top_class.tolist(), strict=True):
            if len(chosen.union(pair)) <= MOST_CLASSES:
                chosen.update(pair)
        return np.array(sorted(chosen), np.int64)

    def _matrix(
        self, class_id: NDArray[np.int64], crops: NDArray[np.float64], agreeing: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        k = len(class_id)
        wanted = class_id[:, None] * self._num_classes + class_id
        place = np.searchsorted(self._codes, wanted)
        place[place == len(self._codes)] = 0
        matrix = np.zeros((k, k + 1), np.int64)
        if len(self._codes):
            matrix[:, :k] = np.where(self._codes[place] == wanted, self._counts[place], 0)
        np.fill_diagonal(matrix, agreeing[class_id].astype(np.int64))
        matrix[:, k] = crops[class_id].astype(np.int64) - matrix[:, :k].sum(axis=1)
        return matrix
