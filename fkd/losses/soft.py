"""The losses that compare a student's logits with soft labels alone.

Legend: B crops, C classes; p the soft label, z the logits, T the temperature, q = softmax(z / T).
"""

from collections.abc import Callable

from torch import Tensor

from fkd.labels import Labels, SoftLabels, entropy
from fkd.losses.given import Reduction, check_temperature, fitting_labels, in_precision, reduced
from fkd.losses.mixing import Mix, in_shares, require_mix
from fkd.losses.positions import at_positions, by_view, fitting_positions, has_grid, refuse_mix
from fkd.losses.sparse import sparse_cross_entropy


def soft_cross_entropy(
    logits: Tensor,
    labels: Labels | Tensor,
    *,
    mix: Mix | None = None,
    temperature: float = 1.0,
    reduction: Reduction = "none",
) -> Tensor:
    """Return -Σ_c p_c log q_c per crop, f32 [B], or its mean or sum, for student logits [B, C].

    Logits may be of any float type, and work is done in float32; of float64 logits the loss is f64.
    `labels` are `SoftLabels`, or probabilities [B, C] of any float type whose rows sum to 1. They are
    taken as they are, whatever T is, and get no gradient. With a `mix` the loss is share · loss(own
    label) + (1 - share) · loss(partner's label), which is the loss to the mixed label.

    Of maps, logits are [B, C, h, w], and labels `GridLabels` or probabilities [B, C, …] of any grid. The
    logits are resized (bilinear) to it, and a crop's loss is the mean over its positions.
    Raises `SoftLabelError` for logits that cannot belong to the labels, `ConfigError` for a setting.
    """
    return _loss_to(StudentSoftmax.cross_entropy, logits, labels, mix, temperature, reduction)


def kl_divergence(
    logits: Tensor,
    labels: Labels | Tensor,
    *,
    mix: Mix | None = None,
    temperature: float = 1.0,
    reduction: Reduction = "none",
) -> Tensor:
    """Return KL(p ‖ q) = Σ_c p_c (log p_c - log q_c) per crop, f32 [B], or its mean or sum.

    That is `soft_cross_entropy`, whose arguments it takes, less the entropy of the label: the gradient is
    the same, and 0 is a student that agrees. With a `mix`, both divergences are added in shares. This
    exceeds KL to the mixed label by what the entropy of that exceeds the mean entropy of the two, which
    no student changes; the gradient is again the same.
    """
    return _loss_to(StudentSoftmax.divergence, logits, labels, mix, temperature, reduction)


def _loss_to(
    compare: Callable[["StudentSoftmax", SoftLabels], Tensor],
    logits: Tensor,
    labels: Labels | Tensor,
    mix: Mix | None,
    temperature: float,
    reduction: Reduction,
) -> Tensor:
    """Compare a student with labels that fit its logits, and in shares with those of partners."""
    if has_grid(logits):
        refuse_mix(mix, logits)
        maps = fitting_positions(logits, labels)
        rows = StudentSoftmax(at_positions(logits, maps.grid), temperature)
        return reduced(by_view(compare(rows, maps.flat), len(logits)), reduction)
    student = StudentSoftmax(logits, temperature)
    said = fitting_labels(logits, labels)
    require_mix(mix, logits)
    return reduced(in_shares(lambda label, _: compare(student, label), said, None, mix), reduction)


class StudentSoftmax:
    """q of a batch, to be compared with one or several labels of its crops."""

    def __init__(self, logits: Tensor, temperature: float) -> None:
        """Take logits [B, C] of any float type; raises `ConfigError` for the temperature."""
        check_temperature(temperature)
        self._logits, self._temperature = logits, temperature
        self._norm: Tensor | None = None

    def cross_entropy(self, labels: SoftLabels) -> Tensor:
        """Return -Σ_c p_c log q_c, [B], to labels in the precision of the logits."""
        # Each label has its own way to the logits, so gradients add up in the order in which losses do.
        logits = in_precision(self._logits)
        if self._temperature != 1:
            logits = logits / self._temperature
        if labels.index is None:
            terms = labels.value * logits.log_softmax(dim=1)
            return -terms.where(labels.value > 0, 0.0).sum(dim=1)
        if self._norm is None:
            self._norm = logits.detach().logsumexp(dim=1)
        return sparse_cross_entropy(logits, self._norm, labels.index, labels.value, labels.tail)

    def divergence(self, labels: SoftLabels) -> Tensor:
        """Return KL(p ‖ q), [B], to labels in the precision of the logits."""
        return self.cross_entropy(labels) - entropy(labels, self._logits.shape[1])
