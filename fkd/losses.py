"""The student's loss, from the sparse form of the soft labels: targets of shape [B, C] are never built.

Legend: B crops, C classes, K kept classes; p the soft label, q the student's softmax, T its temperature.
"""

import torch
from torch import Tensor
from torch.nn import functional

from fkd.recipes import Objective
from fkd.softlabels import SoftLabels


def soft_cross_entropy(logits: Tensor, labels: SoftLabels) -> Tensor:
    """Return -Σ_c p_c log q_c per crop, f32 [B], for student logits [B, C].

    The sparse form gathers K logits, and the classes that are not kept enter as one sum. With z the
    logits, log q_c = z_c - log Σ exp z, so log q of all classes is not built either.
    """
    logits = logits.float()
    norm = logits.logsumexp(dim=1)
    if labels.index is None:
        return (labels.value * (norm[:, None] - logits)).sum(dim=1)
    kept = logits.gather(1, labels.index)
    soft = (labels.value * (norm[:, None] - kept)).sum(dim=1)
    others = logits.shape[1] - labels.index.shape[1]
    return soft + labels.tail * (others * norm - (logits.sum(dim=1) - kept.sum(dim=1)))


def entropy(labels: SoftLabels, num_classes: int) -> Tensor:
    """Return -Σ_c p_c log p_c per crop, f32 [B]: what no student can get below."""
    kept: Tensor = torch.special.entr(labels.value).sum(dim=1)
    if labels.index is None:
        return kept
    others = num_classes - labels.index.shape[1]
    spread: Tensor = torch.special.entr(labels.tail)
    return kept + others * spread


def distillation_loss(
    logits: Tensor, labels: SoftLabels, targets: Tensor, objective: Objective, hard_weight: float
) -> Tensor:
    """Return the loss per crop, f32 [B]: (1 - w) · T² · soft + w · hard, with w the `hard_weight`.

    `soft` compares softmax(logits / T) with the soft labels, `hard` is cross-entropy to the class ids
    `targets`, int64 [B], at T = 1.
    """
    loss = logits.new_zeros(len(logits), dtype=torch.float32)
    if hard_weight < 1:
        t = objective.student_temperature
        soft = soft_cross_entropy(logits / t, labels)
        if objective.loss == "kl":
            soft = soft - entropy(labels, logits.shape[1])
        loss = loss + (1 - hard_weight) * t**2 * soft
    if hard_weight > 0:
        hard = functional.cross_entropy(
            logits.float(), targets, reduction="none", label_smoothing=objective.label_smoothing
        )
        loss = loss + hard_weight * hard
    return loss
