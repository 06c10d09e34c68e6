"""The loss of views that were mixed in pairs, by mixup or cutmix, from the label of each."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fkd.config import check_range
from fkd.errors import SoftLabelError
from fkd.labels import SoftLabels
from fkd.losses.given import require_below, require_ids, shown
from fkd.losses.truth import Targets


@dataclass(frozen=True)
class Mix:
    """Which view each of B views was mixed with, and the share that it kept of itself.

    `partner` is int64 [B], numbers of views of the same batch. `share` is a number in [0, 1], or floats
    [B] where each view has a share of its own. Raises `ConfigError` for a number outside of that.
    """

    partner: Tensor
    share: float | Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.share, Tensor):
            check_range("share", self.share, 0, 1)

    def loss(self, own: Tensor, partners: Tensor) -> Tensor:
        """Return share · own + (1 - share) · partners, of losses [B] to own and to partners' labels."""
        share = self.share.to(own.dtype) if isinstance(self.share, Tensor) else self.share
        return share * own + (1 - share) * partners

    def require_fit(self, logits: Tensor) -> None:
        """Raise `SoftLabelError` unless this is a mix of the views whose logits [B, C] are given."""
        partner = require_ids("partners", self.partner, logits)
        require_below(
            partner,
            len(logits),
            "partners name view {largest} of a batch of {count}; views are numbered from 0",
        )
        if not isinstance(self.share, Tensor):
            return
        if self.share.shape not in ((), (len(logits),)) or not self.share.is_floating_point():
            raise SoftLabelError(
                f"shares of a mix are {shown(self.share)}; give a number, or floats of shape "
                f"[{len(logits)}]"
            )
        if self.share.device != logits.device:
            raise SoftLabelError(
                f"shares of a mix are on {self.share.device}, outputs on {logits.device}; move them by "
                ".to(device)"
            )


def require_mix(mix: object, logits: Tensor) -> None:
    """Raise `SoftLabelError` unless this is None, or a `Mix` of the views of logits [B, C]."""
    if mix is None:
        return
    if not isinstance(mix, Mix):
        raise SoftLabelError(f"mix is of the class {type(mix).__name__}; give Mix(partner, share)")
    mix.require_fit(logits)


def in_shares(
    loss_to: Callable[[SoftLabels, Targets | None], Tensor],
    labels: SoftLabels,
    targets: Targets | None,
    mix: Mix | None,
) -> Tensor:
    """Return the loss per crop, [B], to labels and class ids, and where mixed to the partners' too."""
    own = loss_to(labels, targets)
    if mix is None:
        return own
    theirs = None if targets is None else targets[mix.partner]
    return mix.loss(own, loss_to(labels.take(mix.partner), theirs))
