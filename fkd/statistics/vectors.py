"""What the vectors of a store tell: which views they take for alike, and along how many axes they lie.

Legend: n views, the first crop of an image each, D numbers of a vector, of a map its channels' means.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fkd.amounts import as_count
from fkd.errors import StoreError
from fkd.info import reached
from fkd.probing import Spread, knn_top1, nearest, spread
from fkd.statistics.histogram import Histogram
from fkd.store import LabelStore
from fkd.vectors import StoredVectors

# A block is compared with its seal as a whole, so that views are of few blocks.
_BLOCKS, _VIEWS = 8, 2048
_NEIGHBOURS = 20  # that vote on a class
_NUMBERS_AT_ONCE = 2**24  # that are restored


@dataclass(frozen=True)
class VectorStatistics:
    """What the vectors of the target `name` tell of the first crops of `images`, int64 [n].

    `cosines` are those of all pairs. `knn` is the share in [0, 1] whose class their `voters` nearest
    others vote for, None where images have no classes. `asked` are rows of `images`, int64 [q], and
    `nearest` int64 [q, k] those of the views most like them, with `similarity` f32 [q, k].
    """

    name: str
    images: NDArray[np.int64]
    spread: Spread
    cosines: Histogram = field(repr=False)
    knn: float | None
    voters: int
    asked: NDArray[np.int64]
    nearest: NDArray[np.int64] = field(repr=False)
    similarity: NDArray[np.float32] = field(repr=False)

    def __str__(self) -> str:
        known = "" if self.knn is None else f"kNN {self.knn:.1%}, "
        return (
            f"{self.name}: {known}mean cosine of different images {self.spread.cosine:.3f}, effective "
            f"rank {self.spread.rank:.1f}, of {as_count(len(self.images), 'view')}"
        )


def vector_statistics(
    store: LabelStore, name: str, num_asked: int = 4, num_nearest: int = 5, seed: int = 0
) -> VectorStatistics:
    """Measure a target's vectors on the first crops of up to 2,048 images, from blocks all over a store.

    The neighbours of `num_asked` views, chosen by the `seed`, are named. Raises `StoreError` for a target
    that the store has not, where fewer than two images are labelled, or vectors are damaged.
    """
    vectors, store = store.vectors(name), store.of_targets([name])
    images = _chosen(store)
    if len(images) < 2:
        raise StoreError(
            f"{store.path} holds fewer than two labelled images; run `fkd label` to go on"
        )
    features = torch.cat(list(_restored(store, vectors, images)))
    rng = np.random.default_rng(seed)
    asked = np.sort(rng.permutation(len(images))[:num_asked])
    similarity, rows = nearest(features, min(num_nearest, len(images) - 1))
    return VectorStatistics(
        name,
        images,
        spread(features),
        _cosines(features),
        *_knn(store, features, images),
        asked,
        rows[asked].numpy(),
        similarity[asked].numpy(),
    )


def _chosen(store: LabelStore) -> NDArray[np.int64]:
    """Return the images that are looked at, rising, int64 [n]: as many of each of a few blocks."""
    labelled = np.flatnonzero(reached(store) & (store.status() == 0))
    block = labelled // store.spec.block_images
    blocks = np.unique(block)
    spread_out = np.linspace(0, len(blocks) - 1, min(_BLOCKS, len(blocks))).round().astype(np.int64)
    chosen = blocks[spread_out]
    each = _VIEWS // max(1, len(chosen))
    rows = []
    for number in chosen.tolist():
        own = labelled[block == number]
        rows.append(
            own[np.unique(np.linspace(0, len(own) - 1, min(each, len(own))).round().astype(int))]
        )
    return np.concatenate(rows) if rows else np.empty(0, np.int64)


def _restored(
    store: LabelStore, vectors: StoredVectors, images: NDArray[np.int64]
) -> Iterator[Tensor]:
    """Yield the vectors f32 [b, D] of the first crops of images, in their order, few at a time."""
    blocks = images // store.spec.block_images
    step = max(1, _NUMBERS_AT_ONCE // vectors.kept.num_numbers)
    for number in np.unique(blocks).tolist():
        own = images[blocks == number]
        run = range(int(own[0]), int(own[-1]) + 1)
        slab = store.read_images(run, 1)
        for first in range(0, len(own), step):
            rows = own[first : first + step] - run.start
            kept = {name: torch.from_numpy(v[rows, 0]) for name, v in slab.kept.items()}
            said = vectors.restore(kept)
            yield said if said.dim() == 2 else said.mean(dim=(2, 3))


def _cosines(features: Tensor) -> Histogram:
    unit, counted = functional.normalize(features, dim=1), Histogram(-1.0, 1.0)
    for row in range(len(unit) - 1):
        counted.add(unit[row + 1 :] @ unit[row])
    return counted


def _knn(
    store: LabelStore, features: Tensor, images: NDArray[np.int64]
) -> tuple[float | None, int]:
    """Return how often neighbours vote for the class of a view, and how many do: as a class has others.

    Of mixed views, which show two classes, that is not asked.
    """
    targets = store.targets()
    if targets is None or store.spec.mixes:
        return None, 0
    classes, num_classes = torch.from_numpy(targets[images]), len(np.unique(targets[images]))
    voters = max(1, min(_NEIGHBOURS, len(images) // num_classes - 1))
    return knn_top1(features, classes, k=voters), voters
