"""The truth of a view: its image's class, or two in shares where it was mixed before it was labelled.

Legend: B crops, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fkd.errors import SoftLabelError
from fkd.labels import Rows, as_rows
from fkd.losses.given import require_below, require_classes, require_ids, shown


@dataclass(eq=False)
class MixedTargets:
    """The classes of B views that were mixed before a teacher labelled them, and their shares.

    `own` and `partner`, int64 [B], are class ids, `share` f32 [B] is that of the own image. Where a loss
    is given it for targets, each view's loss to the truth is share · loss(own) + (1 - share) ·
    loss(partner). The soft label is the mix's own, and has no shares.
    """

    own: Tensor
    partner: Tensor
    share: Tensor

    def __len__(self) -> int:
        return len(self.own)

    def __getitem__(self, rows: Rows) -> "MixedTargets":
        """Return those of some views."""
        rows = as_rows(rows)
        return MixedTargets(self.own[rows], self.partner[rows], self.share[rows])

    def to(self, device: torch.device | str | int, non_blocking: bool = False) -> "MixedTargets":
        """Return them on a device."""
        parts = (self.own, self.partner, self.share)
        return MixedTargets(*(part.to(device, non_blocking=non_blocking) for part in parts))


# What a loss takes as the truth of B views.
Targets = Tensor | MixedTargets


def as_targets(own: Tensor, partner: Tensor | None, share: Tensor | None) -> Targets:
    """Return class ids int64 [B] as they are or, where there are partners' and shares, with these."""
    return own if partner is None or share is None else MixedTargets(own, partner, share)


def fitting_targets(logits: Tensor, targets: object) -> Targets:
    """Return class ids, int64 [B]; raises `SoftLabelError` where they are not those of the logits."""
    num_crops = len(logits)
    if targets is None:
        raise SoftLabelError(
            "the loss looks at classes and there are no targets; give class ids of shape "
            f"[{num_crops}], or a loss to soft labels alone"
        )
    if not isinstance(targets, MixedTargets):
        return _fitting_ids(logits, targets)
    share = targets.share
    if share.shape != (num_crops,) or not share.is_floating_point():
        raise SoftLabelError(f"shares are {shown(share)}; give floats of shape [{num_crops}]")
    if share.device != logits.device:
        raise SoftLabelError(
            f"shares are on {share.device}, outputs on {logits.device}; move them by .to(device)"
        )
    own, partner = (_fitting_ids(logits, ids) for ids in (targets.own, targets.partner))
    return MixedTargets(own, partner, share)


def _fitting_ids(logits: Tensor, targets: object) -> Tensor:
    ids = require_ids("targets", targets, logits)
    require_classes(ids)
    require_below(
        ids,
        logits.shape[1],
        "targets name class {largest}, counted from 0, and there are {count} outputs; give ids of the "
        "model's own classes",
    )
    return ids


def loss_to_truth(loss: Callable[[Tensor], Tensor], targets: Targets) -> Tensor:
    """Return `loss` of class ids, [B], or of mixed views the sum of both in shares."""
    if not isinstance(targets, MixedTargets):
        return loss(targets)
    own, partner = loss(targets.own), loss(targets.partner)
    share = targets.share.to(own.dtype)
    return share * own + (1 - share) * partner
