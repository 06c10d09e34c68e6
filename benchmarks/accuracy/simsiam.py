"""A self-supervised teacher made on the spot: SimSiam (Chen and He, CVPR 2021, arXiv:2011.10566).

Two views of an image go through one network. A predictor of one view's projection is drawn to the
other's, which gets no gradient: D = -cos(p1, stop(z2)) / 2 - cos(p2, stop(z1)) / 2. No class is looked
at. What is written is an exported program, whose output is the network's pooled features.
"""

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fkd.images import ImageList, decode
from fkd.models import thin_resnet
from fkd.progress import progress

_WIDTH = 24
FEATURES = 8 * _WIDTH
_PROJECTED, _HIDDEN = 512, 128
_LR, _DECAY = 0.06, 5e-4  # for 256 images a step


class SimSiam(nn.Module):
    """A thin ResNet without its head, a projector of three layers and a predictor of two."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = thin_resnet(1, width=_WIDTH)
        self.backbone[-1] = nn.Identity()  # type: ignore[operator]
        layers: list[nn.Module] = []
        for width in (FEATURES, _PROJECTED):
            layers += [_linear(width, _PROJECTED), nn.BatchNorm1d(_PROJECTED), nn.ReLU()]
        layers += [_linear(_PROJECTED, _PROJECTED), nn.BatchNorm1d(_PROJECTED, affine=False)]
        self.projector = nn.Sequential(*layers)
        self.predictor = nn.Sequential(
            _linear(_PROJECTED, _HIDDEN),
            nn.BatchNorm1d(_HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _PROJECTED),
        )

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of two views of each image, and the deviation of what is projected.

        The deviation is of the unit vectors, times √D: 1 where they are spread, 0 where all are one.
        """
        z1, z2 = (self.projector(self.backbone(views)) for views in (first, second))
        p1, p2 = self.predictor(z1), self.predictor(z2)
        loss = -0.5 * (_cosine(p1, z2.detach()) + _cosine(p2, z1.detach()))
        spread = functional.normalize(z1.detach()).std(dim=0).mean() * math.sqrt(_PROJECTED)
        return loss, spread


def _linear(width: int, out: int) -> nn.Linear:
    return nn.Linear(width, out, bias=False)


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    return functional.cosine_similarity(one, other).mean()


def train_simsiam(
    images: ImageList, size: int, epochs: int, path: Path, *, batch_size: int = 256, seed: int = 0
) -> float:
    """Train on all images and write the backbone to `path`; return how spread the projections are."""
    torch.manual_seed(seed)
    pixels = _pixels(images, 2 * size)
    model = SimSiam().train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=_LR * batch_size / 256, momentum=0.9, weight_decay=_DECAY
    )
    steps = len(pixels) // batch_size
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    spread = torch.zeros(())
    for _ in progress(range(epochs), "SimSiam", unit="epoch"):
        order = torch.randperm(len(pixels))
        for step in range(steps):
            some = pixels[order[step * batch_size : (step + 1) * batch_size]].float() / 255
            loss, spread = model(_augmented(some, size), _augmented(some, size))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    _export(model.backbone.eval(), size, path)
    return float(spread)


def _pixels(images: ImageList, side: int) -> Tensor:
    """Return all images as squares, uint8 [N, 3, side, side]."""
    found = []
    for index in range(len(images)):
        pixels = torch.as_tensor(decode(images.name(index), images.read(index)))
        square = functional.interpolate(
            pixels[None].float(), (side, side), mode="bilinear", antialias=True
        )
        found.append(square.round().clamp(0, 255).to(torch.uint8))
    return torch.cat(found)


def _augmented(pixels: Tensor, size: int) -> Tensor:
    """Return a crop of each image, f32 [B, 3, size, size], flipped and with other colours, normalised.

    Crops have 20 to 100 % of the area; brightness, contrast and saturation change by 40 % at most, for
    four in five, and one in five is grey.
    """
    count = len(pixels)
    side = torch.empty(count).uniform_(0.2, 1).sqrt()
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = side * flip, side
    theta[:, :, 2] = (torch.rand(count, 2) * 2 - 1) * (1 - side[:, None])
    grid = functional.affine_grid(theta, [count, 3, size, size], align_corners=False)
    views = functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    bright, contrast, colour = (1 + 0.8 * (torch.rand(3, count, 1, 1, 1) - 0.5)).unbind()
    changed = views * bright
    changed = torch.lerp(changed.mean(dim=(1, 2, 3), keepdim=True), changed, contrast)
    colour = torch.where(torch.rand(count, 1, 1, 1) < 0.2, 0.0, colour)
    changed = torch.lerp(changed.mean(dim=1, keepdim=True), changed, colour)
    keep = torch.rand(count, 1, 1, 1) < 0.2
    return (torch.where(keep, views, changed).clamp(0, 1) - 0.5) / 0.5


def _export(model: nn.Module, size: int, path: Path) -> None:
    batch = {"input": {0: torch.export.Dim("batch")}}
    example = torch.zeros(4, 3, size, size)
    program = torch.export.export(model, (example,), dynamic_shapes=batch)
    torch.export.save(program, path)
