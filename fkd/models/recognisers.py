"""Two small recognisers of lines of text, to begin with: a CRNN, and one with attention as SVTR has it.

Legend: B views, C classes, T frames, D numbers of each, h × w positions of a map.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

_STEM = 24
# Channels, and the strides of height and width, of each stage behind the stem: 1/8 of the width is left.
_STAGES = ((32, (2, 2)), (64, (2, 2)), (128, (2, 1)), (160, (2, 1)))
_HEADS = 8


def crnn(num_classes: int) -> nn.Module:
    """Build a CRNN (Shi et al., TPAMI 2017) of 0.51 M parameters and a head: two layers of LSTM.

    It says logits [B, T, C] of pixels [B, 3, H, W] of any height and width, with T = ⌈W / 8⌉: 40 frames
    of views of 48 x 320.
    """
    return Recogniser(_convolutions(), _Recurrent(_STAGES[-1][0], 96), num_classes)


def svtr(num_classes: int) -> nn.Module:
    """Build a recogniser of 0.51 M parameters and a head, with global mixing (Du et al., IJCAI 2022).

    Its convolutions and frames are those of `crnn`. Two blocks of attention stand in the place of LSTM,
    as SVTR-LCNet of PP-OCRv3 has them, and run in parallel over frames.
    """
    width = _STAGES[-1][0]
    return Recogniser(_convolutions(), _Mixing(width, 128, 2), num_classes)


class Recogniser(nn.Module):
    """A recogniser of three parts.

    `backbone` says maps [B, D, h, w] of pixels, of which the mean over the height is a line. `neck` lets
    its frames know of each other, and has `width` numbers of each. `head` says their logits.
    """

    def __init__(self, backbone: nn.Module, neck: "_Recurrent | _Mixing", num_classes: int) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, neck
        self.head = nn.Linear(neck.width, num_classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits [B, T, C] of views, f32 [B, 3, H, W]."""
        line = self.backbone(pixels).mean(dim=2).transpose(1, 2)
        logits: Tensor = self.head(self.neck(line))
        return logits


def _convolutions() -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(3, _STEM, 3, 2, 1, bias=False),
        nn.BatchNorm2d(_STEM),
        nn.GELU(),
    ]
    channels = _STEM
    for out, stride in _STAGES:
        layers += [_separable(channels, out, stride), _separable(out, out, (1, 1))]
        channels = out
    return nn.Sequential(*layers)


def _separable(channels: int, out: int, stride: tuple[int, int]) -> nn.Module:
    """Build a 3 × 3 convolution that is done by channel and then across channels (Howard et al. 2017)."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.GELU(),
        nn.Conv2d(channels, out, 1, bias=False),
        nn.BatchNorm2d(out),
        nn.GELU(),
    )


class _Recurrent(nn.Module):
    """Two layers of LSTM, in both directions, in float32.

    On CUDA, autocast to bfloat16 has cuDNN's LSTM run in float16, where gradients that nothing scales are
    lost, or takes kernels that go frame by frame.
    """

    def __init__(self, before: int, each: int) -> None:
        super().__init__()
        self.width = 2 * each
        self.lstm = nn.LSTM(before, each, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, line: Tensor) -> Tensor:
        """Return frames [B, T, width] of frames [B, T, D]."""
        with torch.autocast(line.device.type, enabled=False):
            said: Tensor = self.lstm(line.float())[0]
        return said


class _Mixing(nn.Module):
    """Blocks of attention between all frames; where a frame stands, a convolution over 7 of them says."""

    def __init__(self, before: int, width: int, num_blocks: int) -> None:
        super().__init__()
        self.width = width
        self.project = nn.Linear(before, width)
        self.place = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.blocks = nn.Sequential(*[_Block(width) for _ in range(num_blocks)])
        self.norm = nn.LayerNorm(width)

    def forward(self, line: Tensor) -> Tensor:
        """Return frames [B, T, width] of frames [B, T, D]."""
        frames = self.project(line)
        frames = frames + self.place(frames.transpose(1, 2)).transpose(1, 2)
        said: Tensor = self.norm(self.blocks(frames))
        return said


class _Block(nn.Module):
    """Attention and a feed-forward part, each normalised before and added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asked, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Return frames [B, T, width] of as many."""
        frames = frames + self.out(self._attention(self.norm(frames)))
        mixed: Tensor = frames + self.feed(self.second_norm(frames))
        return mixed

    def _attention(self, frames: Tensor) -> Tensor:
        by_head = self.asked(frames).unflatten(2, (3, _HEADS, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = by_head.unbind(0)
        said = functional.scaled_dot_product_attention(query, key, value)
        return said.transpose(1, 2).flatten(2)
