"""timm's Mixup of batches whose labels are stored: followed by what it tells, not by its insides.

Legend: B views of a batch.
"""

import torch
from timm.data.mixup import FastCollateMixup, Mixup
from torch import Tensor

from fkd.errors import ConfigError
from fkd.losses import Mix


def check_mixup(mixup: object, views: int) -> None:
    """Refuse a mixup that would not mix batches of so many views, or would not tell its shares."""
    if not isinstance(mixup, Mixup) or isinstance(mixup, FastCollateMixup):
        raise ConfigError(
            f"mixup is a {type(mixup).__name__}; give a timm.data.Mixup of the same arguments, for "
            "stored crops are mixed once they are batches"
        )
    if views % 2:
        raise ConfigError(
            f"timm's Mixup mixes an even number of views, and each rank has {views} of a batch; give "
            "another batch_size"
        )
    if getattr(mixup, "multi_label", False) or mixup.num_classes < 2 or mixup.label_smoothing >= 1:
        raise ConfigError(
            "a timm.data.Mixup of multi_label=True, of one class or of label_smoothing 1 does not tell "
            "in which shares it mixes; build it with label_smoothing=0 and num_classes=1000"
        )


def mixed(mixup: Mixup, images: Tensor) -> tuple[Tensor, Mix]:
    """Return views [B, 3, H, W] as timm's Mixup mixes them, in place, and the shares that they kept.

    Mixup pairs view i with view B - 1 - i. It draws the shares inside and tells them through the target
    alone. So it is given one class for the first half of the batch and another for the second: with λ the
    share of a view and ε the label smoothing, target[own] - target[other] = (2λ - 1)(1 - ε).
    """
    own = torch.arange(len(images), device=images.device)[:, None] * 2 // len(images)
    images, target = mixup(images, own[:, 0])
    difference = (target.gather(1, own) - target.gather(1, 1 - own))[:, 0]
    share = (1 + difference / (1 - mixup.label_smoothing)) / 2
    partner = torch.arange(len(images), device=images.device).flip(0)
    return images, Mix(partner, share.clamp(0, 1))
