"""What is done to a batch of views on the device: colour jitter, mixup and cutmix.

Views are rendered and labelled before; what is drawn here is a function of the random generator alone,
so a run that is continued draws what it would have drawn. Legend: B views of h × w pixels.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from fkd.config import Augment
from fkd.losses import Mix
from fkd.machine import upload

# Luma of Rec. 601, as image libraries turn colours into grey.
_LUMA = (0.299, 0.587, 0.114)


def jitter(pixels: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Change brightness, contrast and saturation, in this order, of views f32 [B, 3, h, w] in [0, 1].

    Each view has factors of its own, uniform in [1 - strength, 1 + strength]; each step is clipped.
    """
    drawn = rng.uniform(1 - strength, 1 + strength, (3, len(pixels), 1, 1, 1))
    brightness, contrast, saturation = upload(torch.from_numpy(drawn).float(), pixels.device)
    pixels = (pixels * brightness).clamp(0, 1)
    mean = _grey(pixels).mean(dim=(1, 2, 3), keepdim=True)
    pixels = torch.lerp(mean.expand_as(pixels), pixels, contrast).clamp(0, 1)
    return torch.lerp(_grey(pixels).expand_as(pixels), pixels, saturation).clamp(0, 1)


def _grey(pixels: Tensor) -> Tensor:
    return (pixels * _luma(pixels.device)).sum(dim=1, keepdim=True)


@cache  # making a tensor on a GPU waits until the GPU has done all that it was asked before
def _luma(device: torch.device) -> Tensor:
    return torch.tensor(_LUMA, device=device).view(3, 1, 1)


def mix(pixels: Tensor, augment: Augment, rng: np.random.Generator) -> tuple[Tensor, Mix | None]:
    """Mix views [B, 3, h, w] with each other by mixup or cutmix, whichever is on; with both, by either.

    One share for the batch is drawn from Beta(alpha, alpha) (Zhang et al. 2018, Yun et al. 2019).
    """
    on = [kind for kind in ("mixup", "cutmix") if getattr(augment, kind) > 0]
    if not on:
        return pixels, None
    kind = on[rng.integers(len(on))]
    partner = upload(torch.from_numpy(rng.permutation(len(pixels))), pixels.device)
    share = float(rng.beta(getattr(augment, kind), getattr(augment, kind)))
    if kind == "mixup":
        return torch.lerp(pixels[partner], pixels, share), Mix(partner, share)
    top, left, height, width = _hole(1 - share, (pixels.shape[-2], pixels.shape[-1]), rng)
    mixed = pixels.clone()
    rows, columns = slice(top, top + height), slice(left, left + width)
    mixed[..., rows, columns] = pixels[partner][..., rows, columns]
    return mixed, Mix(partner, 1 - height * width / pixels[0, 0].numel())


def _hole(
    area: float, sides: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw a box of a share of the view's area, and of its shape, around any pixel of h × w.

    What hangs over is cut off.
    """
    half = [round(side * area**0.5) // 2 for side in sides]
    center = rng.integers(sides).tolist()
    top, left = (max(0, at - reach) for at, reach in zip(center, half, strict=True))
    height, width = (min(sides[n], center[n] + half[n]) for n in range(2))
    return top, left, height - top, width - left
