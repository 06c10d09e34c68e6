"""The student's loss: soft cross-entropy from the sparse form, and its mix with the hard label."""

from torch import Tensor
from torch.nn import functional

from fkd.softlabels import SoftLabels


def soft_cross_entropy(logits: Tensor, labels: SoftLabels) -> Tensor:
    """Return -Σ_c p_c log q_c per crop, f32 [B], for student logits [B, C].

    The sparse form gathers K log-probabilities and adds one tail term, Σ_c log q_c over the classes
    that are not kept, so targets of shape [B, C] are never built.
    """
    log_probs = functional.log_softmax(logits.float(), dim=1)
    if labels.index is None:
        return -(labels.value * log_probs).sum(dim=1)
    kept = log_probs.gather(1, labels.index)
    others = log_probs.sum(dim=1) - kept.sum(dim=1)
    return -((labels.value * kept).sum(dim=1) + labels.tail * others)


def distillation_loss(
    logits: Tensor, labels: SoftLabels, targets: Tensor, hard_weight: float
) -> Tensor:
    """Mix the soft loss with cross-entropy to the class ids, int64 [B], and average over the batch."""
    if hard_weight == 1:
        return functional.cross_entropy(logits.float(), targets)
    soft = soft_cross_entropy(logits, labels).mean()
    if hard_weight == 0:
        return soft
    hard = functional.cross_entropy(logits.float(), targets)
    return (1 - hard_weight) * soft + hard_weight * hard
