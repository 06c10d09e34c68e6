"""The loss of a student: soft labels and hard ones, weighed against each other.

Legend: B crops, C classes.
"""

import torch
from torch import Tensor
from torch.nn import functional

from fkd.config import Objective
from fkd.labels import SoftLabels, entropy, soft_cross_entropy


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
