"""Some images of a store, in any order, with all that a block keeps of them.

Legend: n images, M crops of each.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fkd.format import StoreSpec
from fkd.labels import Field, StoredArray, mean_measures, narrowed, narrowed_fidelity
from fkd.store import Block, LabelStore, Slab, StoredMixes
from fkd.views import Mixes


@dataclass(frozen=True)
class SourceImages:
    """Images of one block of a source: `slab` has their crops, and `fidelity` f32 [6] is the block's.

    `status` u8 [n], `content_hash` u64 [n], `image_number` int64 [n], and `truth_hash` u64 [n] where
    there are masks or texts, are as in `Block`, and so are `mixes` [n, M] and `partner_content`
    u64 [n, M], where views are mixed.
    """

    slab: Slab
    status: NDArray[np.uint8]
    content_hash: NDArray[np.uint64]
    image_number: NDArray[np.int64]
    fidelity: NDArray[np.float32]
    mixes: Mixes | None = None
    partner_content: NDArray[np.uint64] | None = None
    truth_hash: NDArray[np.uint64] | None = None


class SourceRows:
    """Reads the first crops of images of a finished store by their index, from any thread."""

    def __init__(self, store: LabelStore, num_crops: int, kept_blocks: int = 1) -> None:
        """Keep so many blocks in memory, since the next images may be in them too."""
        self.store, self._crops = store, range(num_crops)
        self._runs = store.image_runs()
        self._starts = np.array([run.start for run in self._runs])
        self._status, self._numbers = store.status(), store.image_numbers()
        hashes = store.content_hashes()
        self._hashes = np.zeros(len(self._status), np.uint64) if hashes is None else hashes
        self._hashes_of_truth = store.truth_hashes()
        self._fidelity = run_fidelity(store, num_crops)
        self._mixes = StoredMixes.of_store(store)
        self._slabs = _Latest(self._read, kept_blocks)

    def _read(self, run: int) -> Slab:
        return self.store.read(self._runs[run], self._crops)

    def parts(self, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], SourceImages]]:
        """Yield the images of `rows`, int64 [n], block by block, with their places among the rows."""
        run_of = np.searchsorted(self._starts, rows, side="right") - 1
        for run in np.unique(run_of).tolist():
            places = np.flatnonzero(run_of == run)
            some, slab = rows[places], self._slabs.get(run)
            within = some - self._starts[run]
            if not np.array_equal(within, np.arange(len(slab.size))):
                slab = _take(slab, within)
            mixes, partner_content = self._mixed(some)
            yield (
                places,
                SourceImages(
                    slab,
                    self._status[some],
                    self._hashes[some],
                    self._numbers[some],
                    self._fidelity[run],
                    mixes,
                    partner_content,
                    truth_hash=None
                    if self._hashes_of_truth is None
                    else self._hashes_of_truth[some],
                ),
            )

    def _mixed(
        self, images: NDArray[np.int64]
    ) -> tuple[Mixes, NDArray[np.uint64]] | tuple[None, None]:
        """Return how crops of images, int64 [n], are mixed, and the content hashes of their partners."""
        if self._mixes is None:
            return None, None
        mixes = self._mixes.of(images, np.array(self._crops))
        return mixes, self._hashes[mixes.image]


def _take(slab: Slab, rows: NDArray[np.int64]) -> Slab:
    """Return the slab of some of its images, with all crops."""
    kept = {name: values[rows] for name, values in slab.kept.items()}
    return Slab(slab.box[rows], slab.flip[rows], slab.size[rows], slab.target[rows], kept)


def run_fidelity(store: LabelStore, num_crops: int) -> NDArray[np.float32]:
    """Return the fidelity of the first crops of each of a store's runs of images, f32 [runs, 6]."""
    measures, _ = store.measures()
    of_run: dict[int, list[tuple[int, int]]] = {}
    for number in range(store.num_blocks):
        place = store.block(number)
        shared = min(place.crops.stop, num_crops) - place.crops.start
        of_run.setdefault(place.images.start, []).append((number, max(0, shared)))
    found = []
    for run in store.image_runs():
        numbers, crops = zip(*of_run[run.start], strict=True)
        found.append(mean_measures(measures[list(numbers)], np.array(crops)))
    return np.array(found, np.float32)


class _Latest:
    """Results by number, the latest of which are kept; two threads that ask for one wait for it."""

    def __init__(self, make: Callable[[int], Slab], count: int) -> None:
        self._make, self._count = make, count
        self._results: OrderedDict[int, Future[Slab]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, number: int) -> Slab:
        with self._lock:
            result = self._results.get(number)
            mine = result is None
            if result is None:
                result = self._results[number] = Future()
                if len(self._results) > self._count:
                    self._results.popitem(last=False)
            else:
                self._results.move_to_end(number)
        if mine:
            try:
                result.set_result(self._make(number))
            except BaseException as error:
                result.set_exception(error)
        return result.result()


class Gathering:
    """A block of a new store while images are put into it."""

    def __init__(self, block: Block, spec: StoreSpec) -> None:
        """Fill `block`, which is empty, of a store of this `spec`."""
        self._block, self._spec = block, spec
        self._fidelity: list[NDArray[np.float32]] = []
        self._counts: list[int] = []
        self._numbers = np.zeros(len(block.status), np.uint64)

    def put(self, places: NDArray[np.int64], images: SourceImages, source: StoreSpec) -> None:
        """Put images of a `source` at places int64 [n], with their labels as the new store keeps them.

        Vectors stay what they are.
        """
        block, slab, labelled = self._block, images.slab, images.status == 0
        block.box[places], block.flip[places] = slab.box, slab.flip
        block.size[places], block.status[places] = slab.size, images.status
        block.content_hash[places] = images.content_hash
        if block.truth_hash is not None and images.truth_hash is not None:
            block.truth_hash[places] = images.truth_hash
        if block.mixes is not None and images.mixes is not None:
            block.mixes[places] = images.mixes
        if block.partner_content is not None and images.partner_content is not None:
            block.partner_content[places] = images.partner_content
        self._numbers[places] = images.image_number
        stored, wanted, num_classes = source.scheme, self._spec.scheme, self._spec.num_classes
        kept = source.labels.rows(_only(slab.kept, source.labels.fields, labelled))
        narrow = narrowed(kept, stored, wanted, num_classes)
        vectors = [field for each in self._spec.vectors.values() for field in each.fields]
        labels = self._spec.labels.by_view(narrow)
        for name, values in (labels | _only(slab.kept, vectors, labelled)).items():
            block.kept[name][places[labelled]] = values
        self._fidelity.append(
            narrowed_fidelity(images.fidelity, kept, stored, narrow, wanted, num_classes)
        )
        self._counts.append(int(labelled.sum()))

    def finish(self) -> Block:
        """Return the block."""
        measures = np.array(self._fidelity, np.float32)
        self._block.fidelity[:] = mean_measures(measures, np.array(self._counts))
        if self._spec.numbered:
            self._block.image_number = self._numbers
        return self._block


def _only(
    kept: dict[str, StoredArray], fields: Sequence[Field], rows: NDArray[np.bool_]
) -> dict[str, StoredArray]:
    """Return what is kept of some images in these fields."""
    some = slice(None) if rows.all() else rows
    return {field.name: kept[field.name][some] for field in fields}
