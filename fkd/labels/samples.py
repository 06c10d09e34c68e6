"""Samples of a label: n classes drawn from it, each counting 1/n.

Sparse Logit Sampling (Anshumann et al., ACL 2025, arXiv:2503.16870). A top-K label is a biased estimate
of the teacher's; classes that are drawn are an unbiased one: with k_c of the n draws on class c,
E[k_c / n] = p_c. The noise of one crop evens out over crops.

The draw is systematic: one number u in [0, 1) a crop, and the class at each of (r + u) / n,
r = 0 … n - 1, of the cumulated probabilities. So k_c is n p_c, rounded down or up, and no class of
probability 0 is drawn.

All is in whole numbers from the moment that p is one, in parts of 2^31. So every device draws the same of
the same p, in whatever order it sums, and devices without float64 draw too.

Legend: B crops, C classes, n draws.
"""

import torch
from torch import Tensor

from fkd.labels.soft import SoftLabels
from fkd.machine import upload

_BITS = 31  # of a probability, and of a place; the product of two fits in 63 bits


def draw(probs: Tensor, count: int, draws: Tensor) -> Tensor:
    """Draw `count` classes of each crop, int64 [B, n], rising, of probabilities f32 [B, C].

    `draws` f64 [B] on the CPU are the numbers u. The result is on the device of `probs`, for which
    nothing waits.
    """
    up_to = _cumulated(probs)
    drawn = torch.searchsorted(up_to, _places(up_to, count, draws), right=True)
    # What is no distribution may lead anywhere, and is refused later.
    return drawn.clamp_(max=probs.shape[1] - 1)


def misplaced(probs: Tensor, index: Tensor, draws: Tensor) -> Tensor:
    """Return how far the worst draw of each crop is from where `probs` have its class, f32 [B].

    The unit is probability: 0 where `draw` gives these classes `index`, int64 [B, n] in any order, 0.01
    where the cumulated probabilities would have to be moved by a hundredth for that.
    """
    up_to, rising = _cumulated(probs), index.sort(dim=1).values
    place = _places(up_to, index.shape[1], draws)
    end = up_to.gather(1, rising)
    start = torch.where(rising > 0, up_to.gather(1, (rising - 1).clamp(min=0)), 0)
    away: Tensor = torch.maximum(start - place, place - (end - 1)).clamp(min=0).amax(dim=1)
    return away.float().div_(2**_BITS)


def as_labels(index: Tensor, num_classes: int) -> SoftLabels:
    """Return draws, int64 [B, n] in any order, as labels of K = min(n, C) classes, in falling order.

    A class that was drawn k times is named once, with k / n. Places that are left name classes that were
    not drawn, with 0.
    """
    count, kept = index.shape[1], min(index.shape[1], num_classes)
    rising = index.sort(dim=1).values
    new = torch.ones_like(rising, dtype=torch.bool)
    new[:, 1:] = rising[:, 1:] != rising[:, :-1]
    rank = new.long().cumsum(dim=1) - 1
    times = torch.zeros((len(index), kept), device=index.device)
    times.scatter_add_(1, rank, torch.ones_like(rising, dtype=times.dtype))
    # Among the K lowest ids at least as many were not drawn as there are places left.
    drawn = torch.zeros((len(index), kept + 1), dtype=torch.bool, device=index.device)
    drawn.scatter_(1, rising.clamp(max=kept), True)
    others = drawn[:, :kept].long().argsort(dim=1, stable=True)
    place = torch.arange(kept, device=index.device) - rank[:, -1:] - 1
    named = others.gather(1, place.clamp(min=0)).scatter_(1, rank, rising)
    value, order = (times / count).sort(dim=1, descending=True, stable=True)
    return SoftLabels(named.gather(1, order), value, value.new_zeros(len(value)), num_classes)


def _cumulated(probs: Tensor) -> Tensor:
    """Return the cumulated probabilities, int64 [B, C], in parts of 2^31."""
    up_to: Tensor = (probs * 2**_BITS).round().long().cumsum(dim=1)
    return up_to


def _places(up_to: Tensor, count: int, draws: Tensor) -> Tensor:
    """Return where draws fall among cumulated probabilities, int64 [B, n]: from 0 to below their sum."""
    share = (torch.arange(count) + draws[:, None]) / count
    share = (share * 2**_BITS).long().clamp_(max=2**_BITS - 1)  # 255 + u may round to 256
    place: Tensor = (upload(share, up_to.device) * up_to[:, -1:]) >> _BITS
    return place
