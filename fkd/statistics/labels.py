"""What the labels of a store say, in numbers: how sure the teacher is, how often it agrees, what K keeps.

The measures are those of FKD's analysis. Entropies are of the label as stored: the classes that are not
kept share what is left evenly, which is the largest entropy that the teacher's own label can have.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.errors import StoreError
from fkd.labels import SoftLabels, entropy
from fkd.progress import progress_bar
from fkd.statistics.histogram import Histogram
from fkd.statistics.sweep import Piece, Sweep, opened, swept
from fkd.store import LabelStore

_MAX_K = 20  # of the full scheme, which keeps every class


@dataclass(frozen=True)
class KeptMass:
    """Probability of the k most likely classes, k = 1 … K: mean and 5 and 95 % quantile, f64 [K] each."""

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True)
class UnsureCrop:
    """A crop that the teacher is unsure of: image index, crop number, top probability, entropy (nats)."""

    image_index: int
    crop: int
    top_probability: float
    entropy: float


@dataclass(frozen=True)
class Certainty:
    """How sure the teacher is: what a store that keeps values can say; entropies are in nats."""

    top_probability: Histogram
    entropy: Histogram
    kept_mass: KeptMass
    least_sure: tuple[UnsureCrop, ...]


@dataclass(frozen=True)
class ClassStatistics:
    """Numbers by the images' class, for the n classes that have labelled images.

    `class_id` and `crops` are int64 [n]; `agreement`, the share of crops whose top-1 is that class, is
    f64 [n], and so are the means `top_probability` and `entropy`, None where no values are kept.
    """

    class_id: NDArray[np.int64]
    crops: NDArray[np.int64]
    agreement: NDArray[np.float64]
    top_probability: NDArray[np.float64] | None
    entropy: NDArray[np.float64] | None


@dataclass(frozen=True)
class LabelStatistics:
    """Numbers from the first `crops_per_image` crops of all `num_images` labelled images.

    `agreement` is the share of crops whose top-1 is the image's class; `certainty` is None where the
    scheme keeps no values (`hard`).
    """

    num_images: int
    crops_per_image: int
    agreement: float
    classes: ClassStatistics
    certainty: Certainty | None

    @property
    def num_crops(self) -> int:
        """How many crops the numbers come from."""
        return self.num_images * self.crops_per_image


def label_statistics(store: LabelStore | str | Path, num_unsure: int = 12) -> LabelStatistics:
    """Measure the labels of a store, or of that at a path, with the `num_unsure` least sure images.

    It may be unfinished. Raises `StoreError` where no image is labelled yet, or labels are damaged.
    """
    store = opened(store)
    sweep = Sweep.over(store)
    num_images = int(np.count_nonzero(sweep.labelled))
    if not num_images:
        raise StoreError(f"{store.path} holds no labelled image; run `fkd label` to go on")
    tally = _Certainty(store, num_unsure)
    with progress_bar(
        "measure", unit="crop", total=num_images * sweep.num_crops, delay=1
    ) as bar, torch.inference_mode():  # fmt: skip
        for piece in swept(store, sweep):
            tally.add(piece, sweep.num_crops)
            bar.update(len(piece.image_index) * sweep.num_crops)
    return tally.finish(num_images, sweep.num_crops)


class _Certainty:
    """What is known of the crops so far."""

    def __init__(self, store: LabelStore, num_unsure: int) -> None:
        spec = store.spec
        self._num_classes, self._num_unsure = spec.num_classes, num_unsure
        self._keeps_values = spec.labels.keeps_values
        self._top = Histogram(0.0, 1.0)
        self._entropy = Histogram(0.0, max(math.log(spec.num_classes), 1e-6))
        ranks = spec.labels.num_ranks
        if spec.labels.keeps_all:
            ranks = min(_MAX_K, ranks)
        self._mass = [Histogram(0.0, 1.0) for _ in range(ranks)]
        # By class: crops, those whose top-1 it is, sum of top probabilities, sum of entropies.
        self._by_class = np.zeros((4, spec.num_classes))
        self._unsure: list[UnsureCrop] = []

    def add(self, piece: Piece, num_crops: int) -> None:
        """Count a piece of the sweep."""
        labels = piece.labels
        target = torch.from_numpy(piece.target).repeat_interleave(num_crops)
        agrees = labels.top_class == target
        measures = [torch.ones(len(target)), agrees]
        if self._keeps_values:
            top, nats = labels.confidence, entropy(labels, self._num_classes)
            measures += [top, nats]
            self._top.add(top)
            self._entropy.add(nats)
            self._add_mass(labels)
            self._keep_unsure(piece.image_index, top.view(-1, num_crops), nats)
        for row, measure in zip(self._by_class, measures, strict=False):
            weights = measure.double()
            row += torch.bincount(target, weights, minlength=self._num_classes).numpy()

    def _add_mass(self, labels: SoftLabels) -> None:
        value = labels.value
        if labels.index is None:
            value = value.topk(len(self._mass), dim=1).values
        mass = torch.zeros(len(value))
        for rank, histogram in enumerate(self._mass):
            mass += value[:, rank]
            histogram.add(mass)

    def _keep_unsure(self, image_index: NDArray[np.int64], top: Tensor, nats: Tensor) -> None:
        """Keep the images with the lowest top probability, each with its least sure crop."""
        lowest, crop = top.min(dim=1)
        nats = nats.view_as(top).gather(1, crop[:, None])[:, 0]
        for n in lowest.argsort(stable=True)[: self._num_unsure].tolist():
            self._unsure.append(
                UnsureCrop(int(image_index[n]), int(crop[n]), lowest[n].item(), nats[n].item())
            )
        self._unsure.sort(key=lambda unsure: (unsure.top_probability, unsure.image_index))
        del self._unsure[self._num_unsure :]

    def finish(self, num_images: int, crops_per_image: int) -> LabelStatistics:
        """Turn sums into means."""
        crops = self._by_class[0]
        class_id = np.flatnonzero(crops)
        agreement, top, nats = self._by_class[1:, class_id] / crops[class_id]
        soft = self._keeps_values
        classes = ClassStatistics(
            class_id,
            crops[class_id].astype(np.int64),
            agreement,
            top if soft else None,
            nats if soft else None,
        )
        certainty = self._certainty() if soft else None
        share = float(self._by_class[1].sum() / crops.sum())
        return LabelStatistics(num_images, crops_per_image, share, classes, certainty)

    def _certainty(self) -> Certainty:
        low, high = (
            np.array([mass.quantile(share) for mass in self._mass]) for share in (0.05, 0.95)
        )
        kept_mass = KeptMass(np.array([mass.mean for mass in self._mass]), low, high)
        return Certainty(self._top, self._entropy, kept_mass, tuple(self._unsure))
