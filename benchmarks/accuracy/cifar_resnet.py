"""The residual networks for images of 32 px: He et al. 2015, "Deep Residual Learning", section 4.2.

A network of 6 n + 2 layers is a 3 × 3 convolution, three stages of n blocks with 16, 32 and 64
channels on 32, 16 and 8 px, the mean over places and a linear layer. Shortcuts have no weights: between
stages they take every second pixel and add channels of zeros (the paper's option A). Parts are named as
in published weights.
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

_CHANNELS = (16, 32, 64)


def resnet20(num_classes: int) -> nn.Module:
    """Build the network of 20 layers, 0.27 M parameters: logits [B, C] of pixels [B, 3, S, S]."""
    return _resnet(20, num_classes)


def resnet56(num_classes: int) -> nn.Module:
    """Build the network of 56 layers, 0.85 M parameters: logits [B, C] of pixels [B, 3, S, S]."""
    return _resnet(56, num_classes)


def _resnet(layers: int, num_classes: int) -> nn.Module:
    blocks = (layers - 2) // 6
    parts: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(3, _CHANNELS[0], 3, padding=1, bias=False)),
        ("bn1", nn.BatchNorm2d(_CHANNELS[0])),
        ("relu", nn.ReLU(inplace=True)),
    ]
    channels = _CHANNELS[0]
    for number, out in enumerate(_CHANNELS, start=1):
        first = _Block(channels, out)
        rest = [_Block(out, out) for _ in range(blocks - 1)]
        parts.append((f"layer{number}", nn.Sequential(first, *rest)))
        channels = out
    parts += [("pool", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten())]
    parts.append(("linear", nn.Linear(channels, num_classes)))
    model = nn.Sequential(OrderedDict(parts))
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return model


class _Block(nn.Module):
    """Two 3 × 3 convolutions beside a shortcut; with more channels than before, at half the size."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self._stride, self._added = (1, 0) if out == channels else (2, out - channels)
        self.conv1 = nn.Conv2d(channels, out, 3, self._stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, channels, H, W] to [B, out, H / stride, W / stride]."""
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        short = x[:, :, :: self._stride, :: self._stride]
        before = self._added // 2
        short = functional.pad(short, (0, 0, 0, 0, before, self._added - before))
        return functional.relu(self.bn2(self.conv2(y)) + short)
