"""What a teacher says today of some views, against what is stored of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.amounts import as_count
from fkd.format import (
    StoreSpec,
)
from fkd.labels import SoftLabels, divergence, misplaced, quantize, restore
from fkd.views import label_draws

# What other kernels, another precision and another decoder may do. Boxes that are off by a few pixels
# already do more.
_MEAN_KL, _WORST_KL, _LEAST_AGREEMENT = 0.02, 1.0, 0.95
_MEAN_DEVIATION = 0.05  # about a step of the codes

# Cumulated probabilities move by about as much as probabilities do, and a draw that was borderline is
# then of the class beside it.
_NEAR = 0.05

Kind = Literal["values", "first", "samples"]


@dataclass(frozen=True)
class Agreement:
    """What a teacher says today of n stored views, against what is stored.

    `agrees` [n] says whether both have the same top-1. `kl` f32 [n] is KL(today ‖ stored) in nats.
    Both are in the store's scheme, so that it is near 0 however little the scheme keeps, and where it
    keeps the first class alone `kl` says nothing. Of samples, `misplaced` f32 [n] says how far a view's
    worst draw is from where today's label has its class, in probability, and `agrees` that this is at
    most 0.05. `deviation` f32 [n] is |log(σ today / σ stored)| of the deviation of logits, None where the
    store keeps none. `views` int64 [n, 2] are (image index, crop). `other_weights` says that these are
    not the weights that labelled. `faults` name teachers whose outputs are no logits. Of views with
    labels at `num_positions` each, `agrees` is the share of them, and `kl` and `deviation` are means.
    """

    agrees: NDArray[np.bool_] | NDArray[np.float32]
    kl: NDArray[np.float32]
    misplaced: NDArray[np.float32]
    kind: Kind
    views: NDArray[np.int64]
    other_weights: bool
    faults: tuple[str, ...] = ()
    deviation: NDArray[np.float32] | None = None
    num_positions: int = 1

    @property
    def ok(self) -> bool:
        """Whether the teacher gives logits, and labels differ no more than other kernels make them."""
        if self.faults:
            return False
        agrees = float(self.agrees.mean()) >= _LEAST_AGREEMENT
        close = float(self.kl.mean()) <= _MEAN_KL and float(self.kl.max()) <= _WORST_KL
        if self.deviation is not None:
            close = close and float(self.deviation.mean()) <= _MEAN_DEVIATION
        return agrees and (close or self.kind != "values")

    def __str__(self) -> str:
        what = "samples agree" if self.kind == "samples" else "top-1 agrees"
        share, total = f"{self.agrees.mean():.1%}", len(self.agrees) * self.num_positions
        text = f"{what} on {share} of {as_count(total, 'view')}"
        if self.num_positions > 1:
            text = (
                f"{what} at {share} of {total:,} positions of {as_count(len(self.agrees), 'view')}"
            )
        if self.kind == "samples":
            text += (
                f"; probability that draws are off by: mean {self.misplaced.mean():.2g}, worst "
                f"{self._worst(self.misplaced)}"
            )
        if self.kind == "values":
            low, high = np.quantile(self.kl, [0.5, 0.99]).tolist()
            text += (
                f"; KL in nats: mean {self.kl.mean():.2g}, median {low:.2g}, 99 % {high:.2g}, worst "
                f"{self._worst(self.kl)}"
            )
        if self.deviation is not None:
            text += (
                f"; deviation of logits off by: mean {self.deviation.mean():.1%}, worst "
                f"{self._worst(self.deviation)}"
            )
        if self.other_weights:
            text += "; these are not the weights that labelled"
        return "; ".join([text, *self.faults])

    def _worst(self, values: NDArray[np.float32]) -> str:
        image, crop = self.views[int(values.argmax())].tolist()
        return f"{values.max():.2g} (image {image}, crop {crop})"


def kind_of(spec: StoreSpec) -> Kind:
    """Return what labels of a store can be compared by."""
    if not spec.labels.keeps_first:
        return "samples"
    return "values" if spec.labels.keeps_values else "first"


def compared(
    probs: Tensor, views: NDArray[np.int64], kept: Mapping[str, Tensor], spec: StoreSpec
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compare what a teacher says of `views`, f32 [n · G, C], with what is stored: `kept`, [n, …].

    Views are (image, crop), int64 [n, 2], by the numbers that they are drawn by. Of G > 1 labels of a
    view the mean is taken.
    Returns `agrees`, `kl`, `misplaced` and `deviation` of an `Agreement`, [n] each; 0 where none is.
    """
    if kind_of(spec) == "samples":
        draws = torch.from_numpy(label_draws(spec.views.seed, *views.T))
        off = misplaced(probs.cpu(), kept["index"].long(), draws)
        return off <= _NEAR, torch.zeros_like(off), off, torch.zeros_like(off)
    asked = {name: values.cpu() for name, values in quantize(probs, spec.scheme).items()}
    today = restore(asked, spec.scheme, spec.scheme.whole, spec.num_classes)
    then = spec.labels.restore(kept)
    kl = divergence(today.dense(spec.num_classes), _positive(then)).clamp_min(0)
    none = torch.zeros_like(kl)
    spread = none
    if today.deviation is not None and then.deviation is not None:
        spread = (today.deviation / then.deviation).log().abs()
    found = today.top_class == then.top_class, kl, none, spread
    if not spec.grid:
        return found
    agrees, kl, none, spread = (
        rows.float().reshape(-1, spec.labels.num_positions).mean(dim=1) for rows in found
    )
    return agrees, kl, none, spread


def _positive(labels: SoftLabels) -> SoftLabels:
    """Keep a zero from making the divergence infinite: it is 10^-12 at least."""
    value, tail = labels.value.clamp_min(1e-12), labels.tail.clamp_min(1e-12)
    return SoftLabels(labels.index, value, tail, labels.num_classes)
