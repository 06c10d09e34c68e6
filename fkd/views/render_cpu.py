"""From a box and a flip to pixels, on the CPU.

Both stages call `render`, so the pixels that a student sees are the pixels that the teacher labelled.
Legend: H and W are the height and width of an image, S the side of a rendered crop.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fkd.config import Interpolation

RENDERER = "torch-antialias-uint8-1"
_MAX_ASPECT = 64  # of what is resized to be evaluated

_KERNELS = {
    "bilinear": torch.ops.aten._upsample_bilinear2d_aa.out,
    "bicubic": torch.ops.aten._upsample_bicubic2d_aa.out,
}


def empty_views(
    count: int, size: int, device: torch.device | None = None, *, pin: bool = False
) -> Tensor:
    """Return an uninitialised uint8 [count, 3, S, S] buffer for views, in channels-last memory.

    On the CPU, `pin` makes the memory page-locked, so that CUDA copies from it while the CPU goes on.
    """
    pin = pin and device is None
    views = torch.empty((count, size, size, 3), dtype=torch.uint8, device=device, pin_memory=pin)
    return views.permute(0, 3, 1, 2)


def render(
    image: Tensor, box: NDArray[np.uint16], flip: bool, out: Tensor, interpolation: Interpolation
) -> None:
    """Write one view of `image` (uint8 [3, H, W]) into `out` (uint8 [3, S, S]).

    Crop, antialiased resize, then flip. The kernel behind `functional.interpolate` is called itself:
    it takes the crop as a view of a channels-last image and writes straight into the batch, which
    saves two copies and half of the time on small crops. It equals torchvision's `resized_crop`.
    """
    top, left, height, width = (int(edge) for edge in box)
    crop = image[None, :, top : top + height, left : left + width]
    size = out.shape[-1]
    _KERNELS[interpolation](crop, (size, size), False, None, None, out=out[None])
    if flip:
        out.copy_(out.flip(-1))


def resized_side(size: int) -> int:
    """Return the shorter side of an image, in pixels, of which a centre view of `size` is cut out."""
    return max(size, round(size * 256 / 224))


def render_center(image: Tensor, out: Tensor, interpolation: Interpolation) -> None:
    """Write the evaluation view of `image` (uint8 [3, H, W]) into `out` (uint8 [3, S, S]).

    The shorter side is resized to `resized_side(S)` and the centre is cut out, as ImageNet is evaluated.
    """
    size = out.shape[-1]
    # Of a strip thousands of times longer than wide, the resized image would not fit in memory.
    most = _MAX_ASPECT * min(image.shape[-2:])
    top, left = (max(0, (side - most) // 2) for side in image.shape[-2:])
    image = image[:, top : top + most, left : left + most]
    height, width = image.shape[-2:]
    short = resized_side(size)
    if height <= width:
        resized = (short, max(short, int(short * width / height)))
    else:
        resized = (max(short, int(short * height / width)), short)
    pixels = functional.interpolate(image[None], resized, mode=interpolation, antialias=True)[0]
    top, left = round((resized[0] - size) / 2), round((resized[1] - size) / 2)
    out.copy_(pixels[:, top : top + size, left : left + size])


def normalize(
    pixels: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Tensor:
    """Turn uint8 [B, 3, S, S] into float32 `(pixels / 255 - mean) / std` on the same device."""
    scale, shift = _scale_and_shift(mean, std, pixels.device)
    return torch.addcmul(shift, pixels.float(), scale)


@cache  # making a tensor on a GPU waits until the GPU has done all that it was asked before
def _scale_and_shift(
    mean: tuple[float, float, float], std: tuple[float, float, float], device: torch.device
) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):
        scale = torch.tensor([1 / (255 * s) for s in std], device=device)
        shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=device)
    return scale.view(3, 1, 1), shift.view(3, 1, 1)
