"""A first look at vectors: do they tell images apart, and those of a class from others?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.amounts import as_count
from fkd.config import VectorScheme
from fkd.probing import Spread, knn_top1, spread
from fkd.vectors import KeptVectors

_NEIGHBOURS = 20
_CLASSES, _OF_EACH = 32, 8  # of an ImageNet, images at random are of one class each

# A network at its random weights says vectors with cosines above 0.99, and a collapsed one has few axes.
_ALIKE, _FEW_AXES = 0.995, 3.0
_MOST_LOST = 0.05  # int8 takes 0.0001 of usual vectors
_USUAL = VectorScheme()
CENTRE_CROP = "centre crop"
_LEAST = 16  # images and numbers by which axes can be judged


@dataclass(frozen=True)
class SampleVectors:
    """What the vectors of a target, of centre crops of `count` images, tell of them.

    `knn` is the share in [0, 1] whose class their `neighbours` nearest others vote for, among images of
    `num_classes` classes; None where there are no classes to compare with. `spread` is None where a
    number is not finite. `lost` is the error of what `keep` keeps of vectors, as a share of their
    variance. `view` is what is seen of an image, in the words of a message.
    """

    target: str
    num_numbers: int
    pooled: bool
    count: int
    spread: Spread | None
    knn: float | None = None
    neighbours: int = 0
    num_classes: int = 0
    keep: VectorScheme = _USUAL
    lost: float = 0.0
    view: str = CENTRE_CROP

    @classmethod
    def of(
        cls,
        target: str,
        shape: Sequence[int],
        vectors: Tensor,
        classes: NDArray[np.int64] | None,
        keep: VectorScheme = _USUAL,
        view: str = CENTRE_CROP,
    ) -> "SampleVectors":
        """Measure vectors f32 [n, D], of maps their means, of images of `classes`, int64 [n]."""
        finite = bool(vectors.isfinite().all()) and len(vectors) > 0
        found = cls(
            target,
            vectors.shape[1],
            len(shape) > 1,
            len(vectors),
            spread(vectors) if finite else None,
            keep=keep,
            lost=_lost(vectors, keep) if finite and len(shape) == 1 else 0.0,
            view=view,
        )
        num_classes = 0 if classes is None else len(np.unique(classes))
        if classes is None or num_classes < 2 or not finite:
            return found
        neighbours = max(1, min(_NEIGHBOURS, len(vectors) // num_classes - 1))
        knn = knn_top1(vectors, torch.from_numpy(classes).to(vectors.device), k=neighbours)
        return replace(found, knn=knn, neighbours=neighbours, num_classes=num_classes)

    @property
    def near_chance(self) -> bool:
        """Whether guessing would do as well, within three standard deviations.

        Where all is right it is not said: of very few images, guessing may find them all.
        """
        if self.knn is None or self.knn == 1:
            return False
        chance = 1 / self.num_classes
        return self.knn <= chance + 3 * math.sqrt(chance * (1 - chance) / self.count)

    @property
    def warnings(self) -> list[str]:
        """What may be wrong with the vectors, and what to do."""
        name, check = f"vectors {self.target}", "check --teacher-weights, --mean, --std and --size"
        if self.spread is None:
            return [f"{name}: a number is not finite; {check}, and --amp"] if self.count else []
        found, most = [], min(self.num_numbers, self.count - 1)
        if self.count > 1 and self.spread.cosine > _ALIKE:
            found.append(
                f"{name} are nearly the same for all images: their mean cosine is "
                f"{self.spread.cosine:.4f}; {check}, or keep another layer"
            )
        elif most >= _LEAST and self.spread.rank < _FEW_AXES:
            found.append(
                f"{name} have collapsed to {self.spread.rank:.1f} of {self.num_numbers:,} axes; {check}, "
                "or keep another layer"
            )
        elif self.spread.constant * 2 > self.num_numbers:
            found.append(
                f"{name}: {self.spread.constant:,} of {self.num_numbers:,} numbers are the same for all "
                f"{self.count:,} images; {check}, or keep another layer"
            )
        if not found and self.lost > _MOST_LOST:
            found.append(
                f"{name}: kept as {self.keep} they lose {min(self.lost, 1):.0%} of what tells images "
                "apart, since their numbers are very large or very small; keep them as pcaN"
            )
        if self.near_chance:
            found.append(
                f"{name}: the classes of neighbours are no better than guessing among "
                f"{self.num_classes}; {check}"
            )
        return found

    def __str__(self) -> str:
        numbers = as_count(self.num_numbers, "number")
        what = f"{self.target}, vectors of {numbers}"
        if self.pooled:
            what = (
                f"{self.target}, maps of {as_count(self.num_numbers, 'channel')}, here their means"
            )
        crops = as_count(self.count, self.view)
        if self.spread is None:
            return f"{what}, on {crops}"
        found = (
            f"mean cosine of different images {self.spread.cosine:.3f}, effective rank "
            f"{self.spread.rank:.1f}, length {self.spread.norm:.3g}"
        )
        if self.knn is not None:
            neighbours = as_count(self.neighbours, "neighbour")
            among = f"among {self.num_classes} classes"
            found = f"kNN {self.knn:.1%} ({neighbours}, {among}), {found}"
        return f"{what}: {found}, on {crops}"


def _lost(vectors: Tensor, keep: VectorScheme) -> float:
    """Return the error that a scheme leaves in vectors f32 [n, D], as a share of their variance.

    What pcaN leaves out is its user's choice, and counts for nothing.
    """
    if keep.kind == "pca" or len(vectors) < 2:
        return 0.0
    kept = KeptVectors("sample", keep, tuple(vectors.shape[1:]))
    error = (kept.restore(kept.quantize(vectors)) - vectors).double().square().sum()
    variance = (vectors - vectors.mean(dim=0)).double().square().sum()
    return float(error / variance) if variance > 0 else 0.0


def several_of_each(classes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Choose up to `count` images, int64 [n], of few `classes`, int64 [N], so that each has others.

    The choice is the same in every run.
    """
    if count >= len(classes):
        return np.arange(len(classes))
    rng = np.random.default_rng(0)
    known, sizes = np.unique(classes, return_counts=True)
    with_others = known[sizes > 1] if (sizes > 1).any() else known
    most = max(2, min(_CLASSES, count // _OF_EACH))
    chosen = rng.permutation(with_others)[:most]
    each = -(-count // max(1, len(chosen)))
    rows = [rng.permutation(np.flatnonzero(classes == one))[:each] for one in chosen]
    return np.sort(np.concatenate(rows)[:count])
