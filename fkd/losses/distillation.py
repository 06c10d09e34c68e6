"""The loss of distillation: soft labels and classes, weighed against each other.

Legend: B crops, C classes; w the hard weight, T the temperature.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

from fkd.config import LOSSES, TRUTH, Distance, Term, Weighed, as_loss, check_choice, check_range
from fkd.errors import ConfigError
from fkd.labels import GridLabels, Labels, SoftLabels
from fkd.losses.given import (
    Reduction,
    check_reduction,
    check_temperature,
    fitting_labels,
    in_precision,
    reduced,
)
from fkd.losses.mixing import Mix, in_shares, require_mix
from fkd.losses.positions import fitting_positions, has_grid
from fkd.losses.soft import StudentSoftmax
from fkd.losses.terms import term_losses
from fkd.losses.truth import Targets, fitting_targets, loss_to_truth
from fkd.losses.vectors import pairs_of

# What a criterion may be given as its loss.
Loss = Distance | Term | Sequence[Distance | Term]


def distillation_loss(  # noqa: PLR0913  one argument a setting
    logits: Tensor,
    labels: Labels | Tensor | None,
    targets: Targets | None = None,
    mix: Mix | None = None,
    *,
    loss: Literal["ce", "kl"] = "ce",
    temperature: float = 1.0,
    hard_weight: float = 0.0,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean over crops of (1 - w) · T² · soft + w · hard, or the sum, or all of them, f32 [B].

    `soft` is `soft_cross_entropy` ("ce") or `kl_divergence` ("kl") of these logits and labels at T; T²
    keeps the size of its gradient (Hinton et al. 2015). `hard` is cross-entropy at T = 1 to the class ids
    `targets`, int64 [B], smoothed by `label_smoothing`; where w = 0 no targets are needed. Of views that
    were mixed before they were labelled, they are `MixedTargets`. With a `mix` the loss is share ·
    loss(own label and class) + (1 - share) · loss(those of the partner).
    Of maps, logits are [B, C, h, w], labels `GridLabels` and targets masks, as `term_losses` has them.
    Raises `SoftLabelError` for logits, labels, targets or a mix that do not belong together, and
    `ConfigError` for a setting.
    """
    _check(loss, temperature, hard_weight, label_smoothing)
    if has_grid(logits):
        soft_part = Weighed(Term(by=loss), 1 - hard_weight, temperature)
        hard_part = Weighed(Term(TRUTH, label_smoothing=label_smoothing), hard_weight)
        weighed = [each for each in (soft_part, hard_part) if each.weight > 0]
        maps = fitting_positions(logits, labels)
        return reduced(term_losses(logits, weighed, lambda _: maps, targets, mix).total, reduction)
    labels = fitting_labels(logits, labels)
    student = StudentSoftmax(logits, temperature)
    soft = student.divergence if loss == "kl" else student.cross_entropy
    classes = fitting_targets(logits, targets) if hard_weight > 0 else None
    require_mix(mix, logits)

    def hard_loss(ids: Tensor) -> Tensor:
        return functional.cross_entropy(
            in_precision(logits), ids, reduction="none", label_smoothing=label_smoothing
        )

    def loss_to(said: SoftLabels, own: Targets | None) -> Tensor:
        total = said.value.new_zeros(len(said))
        if hard_weight < 1:
            total = total + (1 - hard_weight) * temperature**2 * soft(said)
        if own is not None:
            total = total + hard_weight * loss_to_truth(hard_loss, own)
        return total

    return reduced(in_shares(loss_to, labels, classes, mix), reduction)


class DistillationLoss(nn.Module):
    """`distillation_loss` as a criterion whose settings are given once, and any other loss in terms.

        criterion = DistillationLoss(loss="kl", temperature=2, hard_weight=0.1)
        loss = criterion(student(images), soft_labels, targets)

        criterion = DistillationLoss((Term(by="wttm", temperature=2), Term("truth")))

        criterion = DistillationLoss(Term("store:output", "cosine", layer="features"))
        loss = criterion(logits, vectors=batch.vectors, features={"features": adapt(features)})

    `loss` is "ce", "kl", or what `TrainConfig` takes as terms: a `Term`, a distance's name, several.
    Terms have temperatures and weights of their own, so the settings of "ce" and "kl" are refused beside.
    A term's label temperature is put upon the labels as they are given. It has no weights. Its settings
    are attributes, so that `hard_weight` may change during training, and `done`, the share of the run
    that is over, by which the weights and temperatures of terms move. Raises `ConfigError` for a setting.
    """

    def __init__(
        self,
        loss: Loss = "ce",
        temperature: float = 1.0,
        hard_weight: float = 0.0,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.loss = as_loss(loss)
        _check(self.loss, temperature, hard_weight, label_smoothing)
        check_temperature(temperature)
        check_reduction(reduction)
        self.temperature, self.hard_weight = temperature, hard_weight
        self.label_smoothing, self.reduction = label_smoothing, reduction
        self.done = 0.0

    def forward(
        self,
        logits: Tensor,
        labels: Labels | Tensor | None = None,
        targets: Targets | None = None,
        mix: Mix | None = None,
        peers: Mapping[str, Tensor] | None = None,
        vectors: Mapping[str, Tensor] | None = None,
        features: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Return the loss of logits [B, C] or [B, C, h, w], as `distillation_loss` or `term_losses` does.

        `labels` may be None where no term reads them. `peers` are logits [B, C] of other students by
        name, for terms that are to them. `vectors` are stored ones by name, [B, …], for terms to them,
        and `features` what the student says by layer, in the same shapes: a criterion has no weights,
        so it adapts nothing.
        """
        if not isinstance(self.loss, tuple):
            return distillation_loss(logits, labels, targets, mix, **self._settings())
        check_range("done", self.done, 0, 1)

        @cache
        def at(temperature: float) -> Labels:
            if has_grid(logits):
                maps = fitting_positions(logits, labels)
                return GridLabels(tempered(maps.flat, temperature), maps.grid)
            return tempered(fitting_labels(logits, labels), temperature)

        def tempered(given: SoftLabels, temperature: float) -> SoftLabels:
            return given if temperature == 1 else given.power(temperature, logits.shape[1])[0]

        weighed = [term.at(self.done) for term in self.loss]
        pairs = pairs_of(logits, vectors or {}, features or {}, peers or {})
        losses = term_losses(logits, weighed, at, targets, mix, peers, pairs)
        return reduced(losses.total, self.reduction)

    def extra_repr(self) -> str:
        """Return the settings, for the module's `repr`."""
        if isinstance(self.loss, tuple):
            return "; ".join(map(str, self.loss))
        return ", ".join(f"{name}={value!r}" for name, value in self._settings().items())

    def _settings(self) -> dict[str, Any]:
        names = ("loss", "temperature", "hard_weight", "label_smoothing", "reduction")
        return {name: getattr(self, name) for name in names}


def _check(
    loss: str | tuple[Term, ...], temperature: float, hard_weight: float, label_smoothing: float
) -> None:
    check_range("hard_weight", hard_weight, 0, 1)
    check_range("label_smoothing", label_smoothing, 0, 1)
    if isinstance(loss, tuple):
        if (temperature, hard_weight, label_smoothing) != (1, 0, 0):
            raise ConfigError(
                "temperature, hard_weight and label_smoothing say more of the losses 'ce' and 'kl', and "
                "the loss is given in terms; say it in a term"
            )
        return
    check_choice("loss", loss, LOSSES)
