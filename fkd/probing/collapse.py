"""How far the vectors of different images are from each other: collapsed ones tell no images apart."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Spread:
    """How n vectors of D numbers differ.

    `cosine` is the mean over pairs of different vectors, and `norm` the mean length. `rank` is the
    effective rank exp(-Σ p_i log p_i), p_i = σ_i / Σ σ, of their deviations from the mean, with σ the
    singular values (Roy and Vetterli, EUSIPCO 2007): 1 where they lie on a line, min(D, n - 1) at most.
    `spectrum` f32 [min(n, D)] are the shares of the variance along the principal axes, falling.
    `constant` of the D numbers are the same in all.
    """

    cosine: float
    norm: float
    rank: float
    constant: int
    spectrum: Tensor


@torch.inference_mode()
def spread(features: Tensor) -> Spread:
    """Measure vectors f32 [n, D], which are finite; of one alone the cosine is 1 and the rank 0."""
    features, count = features.float(), len(features)
    unit = functional.normalize(features, dim=1)
    own = float((unit * unit).sum())  # a vector of zeros has no direction
    others = float(unit.sum(dim=0).square().sum()) - own
    deviation = features - features.mean(dim=0)
    # The same number in all has a mean that is off by its last bit.
    varies = features.amax(dim=0) > features.amin(dim=0)
    sigma = torch.linalg.svdvals((deviation * varies).double())
    total = sigma.sum()
    rank = float(torch.special.entr(sigma / total).sum().exp()) if total > 0 else 0.0
    power = sigma.square()
    return Spread(
        others / (count * (count - 1)) if count > 1 else 1.0,
        float(features.norm(dim=1).mean()),
        rank,
        int((~varies).sum()),
        (power / power.sum().clamp_min(torch.finfo(power.dtype).tiny)).float(),
    )
