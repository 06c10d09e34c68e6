"""Two stores of the same crops by different teachers: how far apart their labels are, in nats.

Legend: p and q are the labels of a crop in this store and in the other one, H(p, q) = -Σ_c p_c log q_c.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fkd.config import grid_text
from fkd.errors import StoreError
from fkd.info import reached
from fkd.labels import cross_entropy, entropy
from fkd.progress import progress_bar
from fkd.statistics.histogram import Histogram
from fkd.statistics.sweep import Piece, Sweep, opened, swept
from fkd.store import LabelStore

_MOST_NATS = 32.0  # a code goes to e^-31.75 of the largest value


@dataclass(frozen=True)
class Divergences:
    """Means over labels, in nats: H(p, q), H(q, p), the entropies H(p), H(q), and all H(p, q).

    `crossed` is the distribution of H(p, q), up to 32; what is above counts in its last bin.
    """

    cross_entropy: float
    reverse_cross_entropy: float
    entropy: float
    other_entropy: float
    crossed: Histogram

    @property
    def kl(self) -> float:
        """KL(p ‖ q) = H(p, q) - H(p): what the other teacher's label lacks of this one's."""
        return self.cross_entropy - self.entropy

    @property
    def reverse_kl(self) -> float:
        """KL(q ‖ p)."""
        return self.reverse_cross_entropy - self.other_entropy


@dataclass(frozen=True)
class Comparison:
    """Numbers from the first `crops_per_image` crops of `num_images` images that both stores label.

    `agreement` is the share of crops, of maps of positions, on whose top-1 the teachers agree;
    `divergences` is None where one of the stores keeps no values (`hard`).
    """

    num_images: int
    crops_per_image: int
    agreement: float
    divergences: Divergences | None


def compare(store: LabelStore | str | Path, other: LabelStore | str | Path) -> Comparison:
    """Compare the labels of two stores, or of the stores at two paths, of the same crops.

    Raises `StoreError` where the crops differ, and where one of the stores holds samples.
    """
    store, other = opened(store), opened(other)
    refuse_other_crops(store, other)
    sweep = Sweep.over(store, other)
    num_images = int(np.count_nonzero(sweep.labelled))
    if not num_images:
        raise StoreError(f"{store.path} and {other.path} have no labelled image in common")
    num_crops = num_images * sweep.num_crops
    soft = store.spec.labels.keeps_values and other.spec.labels.keeps_values
    tally = _Divergences(store.spec.num_classes, soft)
    with progress_bar(
        "compare", unit="crop", total=num_crops, delay=1
    ) as bar, torch.inference_mode():  # fmt: skip
        for mine, theirs in zip(swept(store, sweep), swept(other, sweep), strict=True):
            tally.add(mine, theirs)
            bar.update(len(mine.image_index) * sweep.num_crops)
    num_labels = num_crops * store.spec.labels.num_positions
    return Comparison(
        num_images, sweep.num_crops, tally.agreeing / num_labels, tally.divergences(num_labels)
    )


def refuse_other_crops(store: LabelStore, other: LabelStore) -> None:
    """Raise `StoreError`, naming the difference, unless both stores have labels of the same crops.

    Samples are no labels to compare: of one crop they say neither the top-1 nor the entropy.
    """
    for one in (store, other):
        one.require_labels("compare stores of labels")
        if not one.spec.labels.keeps_first:
            raise StoreError(
                f"--against {other.path} cannot be compared with {store.path}: {one.path} holds "
                f"samples ({one.spec.scheme}), which name no top-1; compare stores of topk or full labels"
            )
    mine, theirs = store.spec, other.spec
    pairs = {
        "its images (paths and sizes)": (mine.fingerprint, theirs.fingerprint),
        "the number of classes": (mine.num_classes, theirs.num_classes),
        "the grid of its labels": (
            grid_text(mine.grid) or "none",
            grid_text(theirs.grid) or "none",
        ),
        **{name: (had, theirs.views.settings[name]) for name, had in mine.views.settings.items()},
        "the sampler of views": (mine.sampler, theirs.sampler),
        "whether its mixes are stored": (mine.stored_mixes, theirs.stored_mixes),
    }
    for name, (had, has) in pairs.items():
        if had != has:
            raise StoreError(
                f"--against {other.path} cannot be compared with {store.path}, whose crops are others: "
                f"{name}: {has}, not {had}"
            )
    both = reached(store) & reached(other)
    others = (store.image_numbers() != other.image_numbers()) & both
    if others.any() and not (mine.stores_views or theirs.stores_views):
        raise StoreError(
            f"--against {other.path} cannot be compared with {store.path}, whose crops are others: its "
            "images have other numbers, by which views are drawn"
        )
    names = zip(store.class_names(), other.class_names(), strict=False)
    for number, (had_name, has_name) in enumerate(names):
        if had_name != has_name:
            raise StoreError(
                f"--against {other.path} cannot be compared with {store.path}: its class {number} is "
                f"{has_name}, not {had_name}"
            )


class _Divergences:
    """Sums over the labels so far."""

    def __init__(self, num_classes: int, soft: bool) -> None:
        self._num_classes, self._soft = num_classes, soft
        self.agreeing = 0
        self._crossed = Histogram(0.0, _MOST_NATS)
        self._sums = torch.zeros(4, dtype=torch.float64)

    def add(self, mine: Piece, theirs: Piece) -> None:
        """Count the same crops, as both stores label them."""
        p, q, num_classes = mine.labels, theirs.labels, self._num_classes
        self.agreeing += int((p.top_class == q.top_class).sum())
        if self._soft:
            crossed = cross_entropy(p, q, num_classes)
            self._crossed.add(crossed)
            others = (
                cross_entropy(q, p, num_classes),
                entropy(p, num_classes),
                entropy(q, num_classes),
            )
            self._sums += torch.stack([nats.double().sum() for nats in (crossed, *others)])

    def divergences(self, num_labels: int) -> Divergences | None:
        """Turn sums into means."""
        if not self._soft:
            return None
        crossed, reverse, entropy_p, entropy_q = (self._sums / num_labels).tolist()
        return Divergences(crossed, reverse, entropy_p, entropy_q, self._crossed)
