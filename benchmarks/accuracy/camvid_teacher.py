"""A teacher of CamVid's own classes: MobileNetV2 of ImageNet with a head for maps, tuned on its frames.

Its last stage keeps stride 16, dilated (Chen et al. 2017, arXiv:1706.05587), and its head adds what the
backbone has at stride 8 (as arXiv:1802.02611 does at 4). A view of 256 px has 32 × 32 cells.
"""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import mobilenet_v2

from fkd.config import ViewPolicy
from fkd.progress import progress
from fkd.views import render, sample_views

_SIDE = 256
_VOID = 11
_VIEWS = ViewPolicy(scale=(0.25, 1.0))
_BATCH = 8
_LR, _HEAD_LR, _DECAY = 2e-4, 2e-3, 1e-2
_STRIDE_8, _STRIDE_16 = 7, 14  # blocks of MobileNetV2 until these strides are left
_DEEP, _SHALLOW, _JOINED = 320, 32, 128


class Segmenter(nn.Module):
    """MobileNetV2 and a head: logits [B, C, H / 8, W / 8] of pixels [B, 3, H, W]."""

    def __init__(self, weights: Path | None, num_classes: int) -> None:
        """Build it, with a backbone of `weights` or of none."""
        super().__init__()
        network = mobilenet_v2()
        if weights is not None:
            network.load_state_dict(torch.load(weights, weights_only=True))
        blocks = list(network.features)[:-1]
        _keep_stride(blocks[_STRIDE_16:])
        self.shallow = nn.Sequential(*blocks[:_STRIDE_8])
        self.deep = nn.Sequential(*blocks[_STRIDE_8:])
        _pad_behind(self)
        self.narrow = nn.Sequential(nn.Conv2d(_DEEP, _JOINED, 1), nn.ReLU())
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(_DEEP, _JOINED, 1), nn.Sigmoid()
        )
        self.side = nn.Sequential(nn.Conv2d(_SHALLOW, _JOINED, 1), nn.ReLU())
        self.join = nn.Sequential(
            nn.Conv2d(2 * _JOINED, 2 * _JOINED, 3, padding=1, groups=2 * _JOINED),
            nn.Conv2d(2 * _JOINED, _JOINED, 1),
            nn.ReLU(),
            nn.Dropout2d(0.1),
            nn.Conv2d(_JOINED, num_classes, 1),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits of pixels that are normalised with 0.5 and 0.5."""
        fine = self.shallow(pixels)
        coarse = self.deep(fine)
        coarse = self.narrow(coarse) * self.gate(coarse)
        coarse = functional.interpolate(coarse, fine.shape[-2:], mode="bilinear")
        logits: Tensor = self.join(torch.cat([coarse, self.side(fine)], dim=1))
        return logits

    def train(self, mode: bool = True) -> "Segmenter":
        """Train all but the statistics of batch norms: those of the weights are folded into them."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def tuned() -> nn.Module:
    """Build what `tune` wrote to camvid_teacher.pt2, with its layers, which a program does not show."""
    path = Path(os.environ.get("CAMVID_MODELS", ".")) / "camvid_teacher.pt2"
    model = Segmenter(None, _VOID)
    model.load_state_dict(dict(torch.export.load(path).state_dict))
    return model.eval()


def _keep_stride(blocks: list[nn.Module]) -> None:
    """Let the first of these blocks not stride, and all others look twice as far."""
    dilation = 1
    for block in blocks:
        for conv in block.modules():
            if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3):
                conv.stride, conv.dilation, conv.padding = (1, 1), (dilation,) * 2, (dilation,) * 2
        dilation = 2


def _pad_behind(model: nn.Module) -> None:
    """Pad convolutions of stride 2 at the right and the bottom alone, as these weights were trained."""
    for parent in list(model.modules()):
        for name, conv in list(parent.named_children()):
            if isinstance(conv, nn.Conv2d) and conv.stride == (2, 2):
                conv.padding = (0, 0)
                setattr(parent, name, nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv))


def tune(weights: Path, data: Path, out: Path, epochs: int, num_classes: int) -> None:
    """Tune on `data`/train, print the score on `data`/val, and write the exported program to `out`.

    The loss is the cross-entropy to the mask, of logits that are enlarged to half of the view's sides.
    """
    torch.manual_seed(0)
    model = Segmenter(weights, num_classes).train().to(memory_format=torch.channels_last)
    body = [*model.shallow.parameters(), *model.deep.parameters()]
    head = [p for name, p in model.named_parameters() if not name.startswith(("shallow", "deep"))]
    groups = [{"params": body, "lr": _LR}, {"params": head, "lr": _HEAD_LR}]
    optimizer = torch.optim.AdamW(groups, weight_decay=_DECAY)
    frames = _frames(data, "train")
    steps = epochs * (len(frames) // _BATCH)
    rates = [_LR, _HEAD_LR]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, steps, pct_start=0.1)
    batches = _batches(frames)
    for _ in progress(range(steps), "tuning", unit="step"):
        pixels, mask = next(batches)
        logits = functional.interpolate(model(pixels), mask.shape[-2:], mode="bilinear")
        loss = functional.cross_entropy(logits, mask, ignore_index=_VOID)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    model.eval()
    accuracy, each = score(model, _frames(data, "val"), num_classes)
    print(f"val: {accuracy:.1%} of pixels, mIoU {each.mean():.3f}")
    print(" ".join(f"{one:.3f}" for one in each.tolist()))
    batch = {"pixels": {0: torch.export.Dim("batch")}}
    program = torch.export.export(model, (torch.zeros(4, 3, _SIDE, _SIDE),), dynamic_shapes=batch)
    torch.export.save(program, out)


def _frames(data: Path, split: str) -> list[tuple[Tensor, Tensor]]:
    """Return frames uint8 [3, H, W] with masks uint8 [1, H, W]."""
    found = []
    for path in sorted((data / split).iterdir()):
        pixels = np.array(Image.open(path).convert("RGB"))
        mask = np.array(Image.open(data / f"{split}annot" / path.name))
        frame = torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(mask)[None]
        found.append(frame)
    return found


def _batches(frames: list[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield views f32 [B, 3, S, S] and masks int64 [B, S / 2, S / 2], each frame's next crop in turn."""
    for epoch in count():
        order = torch.randperm(len(frames))[: len(frames) // _BATCH * _BATCH]
        for some in torch.split(order, _BATCH):
            views = [_view(frames[int(index)], int(index), epoch) for index in some]
            pixels, masks = (torch.stack(each) for each in zip(*views, strict=True))
            yield normalized(pixels).contiguous(memory_format=torch.channels_last), masks.long()


def _view(frame: tuple[Tensor, Tensor], index: int, crop: int) -> tuple[Tensor, Tensor]:
    pixels, mask = frame
    height, width = pixels.shape[1:]
    boxes, flips = sample_views(_VIEWS, index, crop + 1, height, width)
    out = torch.empty(1, 3, _SIDE, _SIDE, dtype=torch.uint8)
    render(pixels, boxes[crop], bool(flips[crop]), out[0], "bilinear")
    top, left, high, wide = (int(edge) for edge in boxes[crop])
    part = mask[None, :, top : top + high, left : left + wide]
    part = functional.interpolate(part, (_SIDE // 2, _SIDE // 2), mode="nearest-exact")[0, 0]
    return out[0], part.flip(-1) if flips[crop] else part


def normalized(pixels: Tensor) -> Tensor:
    """Return pixels uint8 as the weights want them: f32 from -1 to 1."""
    return pixels.float() / 127.5 - 1


@torch.inference_mode()
def score(
    model: nn.Module, frames: list[tuple[Tensor, Tensor]], num_classes: int
) -> tuple[float, Tensor]:
    """Return the share of pixels that are right, and the IoU of each class, f64 [C].

    Whole frames are squeezed into a square view; logits are enlarged to the frame.
    """
    counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for pixels, mask in frames:
        view = functional.interpolate(
            pixels[None].float(), (_SIDE, _SIDE), mode="bilinear", antialias=True
        )
        logits = functional.interpolate(model(normalized(view)), mask.shape[1:], mode="bilinear")
        said, truth = logits.argmax(dim=1)[0], mask[0].long()
        known = truth != _VOID
        pairs = truth[known] * num_classes + said[known]
        counts += torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)
    right = counts.diag().double()
    return float(right.sum() / counts.sum()), right / (counts.sum(0) + counts.sum(1) - right)
