"""A sweep over the labels of a store, or of several of the same images, in pieces that fit in memory.

Crops are drawn independently of each other, so the first s of every image are a fair sample of all M.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.info import num_finished, reached
from fkd.labels import SoftLabels
from fkd.store import LabelStore, Slab, StoredMixes

MAX_SWEPT = 4_000_000  # labels: the share of a rare event, one in a thousand, is then known to 2 %

# What is read by one call, and what of it is restored at once: so little stays in a core's cache.
_CROPS_READ = 2**18
_VALUES_READ = 2**26
_VALUES_RESTORED = 2**18


@dataclass(frozen=True)
class Sweep:
    """Which labels are read: of the images `labelled`, bool [N], the first `num_crops` (s) each.

    `runs` are read one after the other, each in pieces of `piece_images`.
    """

    labelled: NDArray[np.bool_]
    num_crops: int
    runs: tuple[range, ...]
    piece_images: int

    @classmethod
    def over(cls, *stores: LabelStore, at_most: int = MAX_SWEPT) -> "Sweep":
        """Choose s so that no more than about `at_most` labels are read; every image has a crop at least.

        Of an unfinished store they are crops that all images have which have any.
        """
        return cls._of(np.logical_and.reduce([reached(store) for store in stores]), stores, at_most)

    @classmethod
    def sample(cls, store: LabelStore, at_most: int) -> "Sweep":
        """Choose about `at_most` labels: of more images than that, those of every so manieth block."""
        sealed, crops = reached(store), max(1, at_most // store.spec.labels.num_positions)
        apart = -(-int(np.count_nonzero(sealed)) // crops)
        number = np.arange(len(sealed)) // store.spec.block_images
        return cls._of(sealed & (number % max(1, apart) == 0), (store,), at_most)

    @classmethod
    def _of(
        cls, sealed: NDArray[np.bool_], stores: tuple[LabelStore, ...], at_most: int
    ) -> "Sweep":
        labelled = np.logical_and.reduce([sealed, *(store.status() == 0 for store in stores)])
        num_images = int(np.count_nonzero(labelled))
        least = min(num_finished(store) for store in stores)
        each = max(store.spec.labels.num_positions for store in stores)
        num_crops = max(1, min(least, at_most // max(1, num_images * each)))
        width = each * max(1, *(store.spec.labels.num_ranks for store in stores))
        block = stores[0].spec.block_images
        at_once = min(_CROPS_READ, _VALUES_READ // width) // num_crops
        runs = tuple(_runs(sealed, max(1, at_once // block) * block))
        return cls(labelled, num_crops, runs, max(1, _VALUES_RESTORED // (num_crops * width)))


@dataclass(frozen=True)
class Piece:
    """Labels of s crops of n images: `image_index` int64 [n], `labels` of n · s crops.

    Of maps `labels` are rows, position after position of a crop, and the classes of images say nothing.
    `target` int64 [n · s] is the class of each crop's image, of a mixed view that of the image with the
    larger share in it; `other` int64 [n · s] is that of the other image, or the same. Both are None where
    images have no classes. `area` f32 [n · s] is the share of its image that each crop's box covers.
    """

    image_index: NDArray[np.int64]
    target: Tensor | None
    other: Tensor | None
    area: Tensor
    labels: SoftLabels

    @property
    def agrees(self) -> Tensor | None:
        """Whether a crop's top-1 is the class of an image in it, bool [n · s]; None without classes."""
        if self.target is None or self.other is None:
            return None
        top = self.labels.top_class
        return (top == self.target) | (top == self.other)


def opened(store: LabelStore | str | Path) -> LabelStore:
    """Return a store, which may be given by its path."""
    return store if isinstance(store, LabelStore) else LabelStore.open(store)


def swept(store: LabelStore, sweep: Sweep) -> Iterator[Piece]:
    """Yield the labels of a store, read as all that it keeps; raises `StoreError` for damaged ones."""
    classes, store = _Classes(store), store.of_targets(())
    for run in sweep.runs:
        slab = store.read_images(run, sweep.num_crops)
        labelled = np.flatnonzero(sweep.labelled[run.start : run.stop])
        for first in range(0, len(labelled), sweep.piece_images):
            rows = labelled[first : first + sweep.piece_images]
            images = run.start + rows
            areas, labels = _areas(slab, rows), restored(store, slab, rows)
            yield Piece(images, *classes.of(images, sweep.num_crops), areas, labels)


class _Classes:
    """The classes of the images that are in a view."""

    def __init__(self, store: LabelStore) -> None:
        self._targets = None if store.spec.grid else store.targets()
        self._mixes = None if self._targets is None else StoredMixes.of_store(store)

    def of(self, images: NDArray[np.int64], num_crops: int) -> tuple[Tensor | None, Tensor | None]:
        """Return `target` and `other` of a `Piece` of the first crops of images, int64 [n]."""
        if self._targets is None:
            return None, None
        own = np.repeat(self._targets[images][:, None], num_crops, axis=1)
        if self._mixes is None:
            target = other = torch.from_numpy(own.reshape(-1))
            return target, other
        partner, share = self._mixes.shares(images, np.arange(num_crops))
        its = np.where(share < 1, self._targets[partner], own)
        larger = share >= 0.5
        both = np.where(larger, own, its), np.where(larger, its, own)
        target, other = (torch.from_numpy(each.reshape(-1)) for each in both)
        return target, other


def _areas(slab: Slab, rows: NDArray[np.int64]) -> Tensor:
    """Return the share of its image that each box of some images covers, f32 [n · s]."""
    box, size = slab.box[rows].astype(np.float32), slab.size[rows].astype(np.float32)
    share = box[..., 2] * box[..., 3] / (size[:, :1] * size[:, 1:])
    return torch.from_numpy(share.reshape(-1))


def restored(store: LabelStore, slab: Slab, rows: NDArray[np.int64]) -> SoftLabels:
    """Restore the labels of some images of a slab, image by image."""
    kept = {
        name: torch.from_numpy(values[rows].reshape(-1, values.shape[-1]))
        for name, values in slab.kept.items()
    }
    return store.spec.labels.restore(kept)


def _runs(sealed: NDArray[np.bool_], length: int) -> Iterator[range]:
    """Yield the runs of readable images, cut at the multiples of `length`."""
    edges = np.flatnonzero(np.diff(sealed, prepend=False, append=False)).tolist()
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        cuts = [start, *range((start // length + 1) * length, stop, length), stop]
        yield from (range(a, b) for a, b in pairwise(cuts))
