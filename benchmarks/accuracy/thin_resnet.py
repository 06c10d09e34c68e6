"""The student of the study, with batch norm and with group norm, and one of twice its width."""

from functools import partial

from torch import nn

from fkd.models import thin_resnet

__all__ = ["thin_resnet", "thin_resnet_gn", "thin_resnet_wide"]


def thin_resnet_gn(num_classes: int) -> nn.Module:
    """Build the same with group norm, which looks at one view at a time."""
    return thin_resnet(num_classes, partial(nn.GroupNorm, 8))


def thin_resnet_wide(num_classes: int) -> nn.Module:
    """Build the same with twice the channels: 2.8 M parameters."""
    return thin_resnet(num_classes, width=48)
