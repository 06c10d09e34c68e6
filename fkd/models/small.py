"""A network small enough to be trained from scratch on a CPU, to try things out."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Norm = Callable[[int], nn.Module]


def thin_resnet(num_classes: int, norm: Norm = nn.BatchNorm2d, width: int = 24) -> nn.Module:
    """Build a ResNet-10: logits [B, C] of pixels [B, 3, S, S]; of width 24 it has 0.7 M parameters."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, width, 5, 2, 2, bias=False),
        norm(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]
    channels = width
    for stage in range(4):
        layers.append(_Block(channels, width * 2**stage, stride=2 if stage else 1, norm=norm))
        channels = width * 2**stage
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)]
    return nn.Sequential(*layers)


class _Block(nn.Module):
    """Two 3 × 3 convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, channels: int, out: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.first_norm = norm(out)
        self.second = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.second_norm = norm(out)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != out:
            conv = nn.Conv2d(channels, out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, norm(out))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, channels, H, W] to [B, out, H / stride, W / stride]."""
        y = functional.relu(self.first_norm(self.first(x)), inplace=True)
        return torch.relu(self.second_norm(self.second(y)) + self.shortcut(x))
