"""Distances between a student and a soft label that are not cross-entropy at one temperature.

Each returns a loss per crop. Labels are constants. Those that look at every class write sparse labels
out, as [B, C], beside the student's probabilities, which are as many.

Legend: B crops, C classes; z the student's logits, p the label's probabilities, T the temperature.
"""

import torch
from torch import Tensor
from torch.nn import functional

from fkd.labels import SoftLabels
from fkd.losses.given import in_precision
from fkd.losses.soft import StudentSoftmax

_EPS = 1e-8  # keeps a correlation a number where one side does not vary
_EPS_DEVIATION = 1e-7


def log_probs(labels: SoftLabels, num_classes: int) -> Tensor:
    """Return log p, [B, C]; a class without probability has the least that its type can hold."""
    probs = labels.dense(num_classes)
    return probs.clamp(min=torch.finfo(probs.dtype).tiny).log()


def centred_mse(logits: Tensor, known: Tensor) -> Tensor:
    """Return (1/C) Σ_c ((z_c - z̄) - (k_c - k̄))² per crop, [B], for logits and `known` logits [B, C].

    Softmax does not see a constant added to all logits, and a stored label does not keep it, so both
    sides are centred. Then log-probabilities are as good as logits.
    """
    logits = in_precision(logits)
    difference = (logits - logits.mean(dim=1, keepdim=True)) - (
        known - known.mean(dim=1, keepdim=True)
    )
    return difference.square().mean(dim=1)


def symmetric_divergence(logits: Tensor, labels: SoftLabels, temperature: float) -> Tensor:
    """Return ½ (KL(p ‖ q) + KL(q ‖ p)) per crop, [B], with q = softmax(z / T)."""
    own = (in_precision(logits) / temperature).log_softmax(dim=1)
    known = log_probs(labels, logits.shape[1])
    return 0.5 * ((own.exp() - known.exp()) * (own - known)).sum(dim=1)


def transformed_matching(logits: Tensor, labels: SoftLabels, temperature: float) -> Tensor:
    """Return U · KL(p^T ‖ softmax(z)) per crop, [B]: WTTM of Zheng and Yang, ICLR 2024, arXiv:2402.11148.

    p^T is p^(1/T) over its sum U = Σ_c p_c^(1/T), their power transform; the student has no temperature.
    U is larger the flatter p is, so crops that say more weigh more. Sparse labels stay sparse: their tail
    is C - K equal powers.
    """
    transformed, power_sum = labels.power(temperature, logits.shape[1])
    return power_sum * StudentSoftmax(logits, 1.0).divergence(transformed)


def relation(logits: Tensor, labels: SoftLabels, temperature: float) -> Tensor:
    """Return how far q = softmax(z / T) is from correlating with p, per crop, [B].

    DIST of Huang et al., NeurIPS 2022, arXiv:2205.10536, with both weights 1: one minus
    Pearson's correlation of a crop's classes, plus one minus that of a class's crops, the mean over
    classes, which all crops share. The latter is of the crops that stand together here.
    """
    own = (in_precision(logits) / temperature).softmax(dim=1)
    known = labels.dense(logits.shape[1])
    return 1 - _correlation(own, known, dim=1) + (1 - _correlation(own, known, dim=0)).mean()


def _correlation(own: Tensor, known: Tensor, dim: int) -> Tensor:
    own, known = (side - side.mean(dim=dim, keepdim=True) for side in (own, known))
    norms = own.norm(dim=dim) * known.norm(dim=dim)
    correlation: Tensor = (own * known).sum(dim=dim) / (norms + _EPS)
    return correlation


def normalised(
    logits: Tensor,
    labels: SoftLabels,
    tempered: SoftLabels,
    targets: Tensor,
    temperature: float,
    gamma: float,
) -> Tensor:
    """Return -p_t log q_t - γ T² Σ_{c≠t} p̂_c log q̂_c per crop, [B], with t the class in `targets`.

    NKD of Yang et al., ICCV 2023, arXiv:2303.13005: p and q are at T = 1, p̂ of `tempered` labels and
    q̂ = softmax(z / T) are without class t and brought to sum 1.
    """
    logits, num_classes, own = in_precision(logits), logits.shape[1], targets[:, None]
    at_target = labels.dense(num_classes).gather(1, own)[:, 0]
    hit = -at_target * logits.log_softmax(dim=1).gather(1, own)[:, 0]
    others = tempered.dense(num_classes).scatter(1, own, 0.0)
    others = others / others.sum(dim=1, keepdim=True).clamp(min=torch.finfo(others.dtype).tiny)
    is_target = functional.one_hot(targets, num_classes).bool()
    rest = (logits / temperature).masked_fill(is_target, -torch.inf).log_softmax(dim=1)
    missed = -(others * rest.masked_fill(is_target, 0.0)).sum(dim=1)
    return hit + gamma * temperature**2 * missed


def standardized(logits: Tensor) -> Tensor:
    """Return (z - z̄) / σ, [B, C], with σ the deviation of a crop's logits (Sun et al., CVPR 2024)."""
    logits = in_precision(logits)
    freedom = min(1, logits.shape[1] - 1)  # a class that is alone has no deviation
    deviation = logits.std(dim=1, keepdim=True, correction=freedom) + _EPS_DEVIATION
    return (logits - logits.mean(dim=1, keepdim=True)) / deviation


def standardized_labels(labels: SoftLabels, num_classes: int, temperature: float) -> SoftLabels:
    """Return the labels of a teacher whose logits were standardized and then divided by T.

    Log-probabilities are logits less a constant, which standardizing takes away: all is known of a label
    that keeps every class. Of one with a deviation σ, softmax((z - z̄) / (σ T)) is p at temperature σ T;
    sparse labels stay sparse: their tail is C - K equal powers.
    """
    if labels.deviation is not None:
        return labels.power((labels.deviation + _EPS_DEVIATION) * temperature, num_classes)[0]
    known = standardized(log_probs(labels, num_classes)) / temperature
    return SoftLabels(None, known.softmax(dim=1), known.new_zeros(len(known)), num_classes)
