"""How much labels say, and how far they are apart, in nats.

Legend: B crops, C classes.
"""

import torch
from torch import Tensor

from fkd.labels.fit import require_fit
from fkd.labels.soft import SoftLabels

# The full scheme stores no lower log-probability, so a class that a teacher rules out altogether costs
# as much in every scheme, and never infinitely much.
_LOG_FLOOR = -100.0


def divergence(probs: Tensor, restored: SoftLabels) -> Tensor:
    """Return KL(probs ‖ restored) in nats, f32 [B]: the information that a scheme gave up.

    Infinite where the restored label is zero on a class that the teacher gave weight. Raises
    `SoftLabelError` where the two are of different crops or classes.
    """
    require_fit(probs, restored)
    log_ratio = probs.log() - restored.dense(probs.shape[1]).log()
    return torch.where(probs > 0, probs * log_ratio, 0.0).sum(dim=1)


def entropy(labels: SoftLabels, num_classes: int) -> Tensor:
    """Return -Σ_c p_c log p_c per crop, f32 [B]: the least loss that a student can have."""
    labels.require_shape(len(labels), num_classes)
    kept: Tensor = torch.special.entr(labels.value).sum(dim=1)
    if labels.index is None:
        return kept
    others = num_classes - labels.index.shape[1]
    spread: Tensor = torch.special.entr(labels.tail)
    return kept + others * spread


def cross_entropy(p: SoftLabels, q: SoftLabels, num_classes: int) -> Tensor:
    """Return H(p, q) per crop, f32 [B]; where q is zero its log counts as -100.

    Of two sparse labels nothing of size C is made: log q is looked up for the classes that p keeps, and
    the others enter as one sum.
    """
    for labels in (p, q):
        labels.require_shape(len(p), num_classes)
    if p.index is None or q.index is None:
        return -(p.dense(num_classes) * _log(q.dense(num_classes))).sum(dim=1)
    log_value, log_tail = _log(q.value), _log(q.tail)
    same = p.index[:, :, None] == q.index[:, None, :]
    gain = log_value - log_tail[:, None]
    kept = log_tail[:, None] + (same * gain[:, None, :]).sum(dim=2)
    all_classes = log_value.sum(dim=1) + (num_classes - q.index.shape[1]) * log_tail
    return -(p.value * kept).sum(dim=1) - p.tail * (all_classes - kept.sum(dim=1))


def _log(probs: Tensor) -> Tensor:
    return probs.log().clamp(min=_LOG_FLOOR)
