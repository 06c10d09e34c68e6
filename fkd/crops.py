"""Views: sample boxes and flips, and apply a view to pixels.

Both stages call `render`, so the pixels that a student sees are the pixels that the teacher labelled.
Legend: M stored crops of one image, H and W its height and width, S the side of a rendered crop.
"""

import math
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fkd.config import Interpolation, ViewPolicy

Boxes = NDArray[np.uint16]  # [M, 4]: top, left, height, width in source pixels
Flips = NDArray[np.bool_]  # [M]

SAMPLER = "random-resized-crop-1"
RENDERER = "torch-antialias-uint8-1"
_MAX_ASPECT = 64  # of what is resized to be evaluated

_ATTEMPTS = 10
_DRAWS = 4 * _ATTEMPTS + 1  # per crop: area, ratio, top, left for each attempt, then the flip

_KERNELS = {
    "bilinear": torch.ops.aten._upsample_bilinear2d_aa.out,
    "bicubic": torch.ops.aten._upsample_bicubic2d_aa.out,
}


def sample_views(
    policy: ViewPolicy, image_index: int, num_crops: int, height: int, width: int
) -> tuple[Boxes, Flips]:
    """Draw the first `num_crops` views of one image: boxes u16 [M, 4] and flips bool [M].

    The distribution is torchvision's RandomResizedCrop followed by a coin for the horizontal flip.
    View j depends on (seed, image index, j) and the image's size alone: never on M, on the batch or
    on the process that draws it.
    """
    draws = _uniform(policy.seed, image_index, num_crops)
    area, ratio, top, left = np.moveaxis(draws[:, :-1].reshape(num_crops, _ATTEMPTS, 4), 2, 0)
    low, high = policy.scale
    target_area = height * width * (low + (high - low) * area)
    log_low, log_high = math.log(policy.ratio[0]), math.log(policy.ratio[1])
    aspect = np.exp(log_low + (log_high - log_low) * ratio)
    crop_width = np.rint(np.sqrt(target_area * aspect)).astype(np.int64)
    crop_height = np.rint(np.sqrt(target_area / aspect)).astype(np.int64)
    fits = (crop_width > 0) & (crop_width <= width) & (crop_height > 0) & (crop_height <= height)

    rows, first = np.arange(num_crops), fits.argmax(axis=1)
    crop_height, crop_width = crop_height[rows, first], crop_width[rows, first]
    crop_top = np.floor(top[rows, first] * (height - crop_height + 1))
    crop_left = np.floor(left[rows, first] * (width - crop_width + 1))
    boxes = np.stack([crop_top, crop_left, crop_height, crop_width], axis=1).astype(np.int64)
    boxes[~fits.any(axis=1)] = _fallback_box(policy.ratio, height, width)
    return boxes.astype(np.uint16), draws[:, -1] < 0.5


def _uniform(seed: int, image_index: int, num_crops: int) -> NDArray[np.float64]:
    """Return doubles in [0, 1), [M, draws per crop], one row per crop.

    Raw Philox words are part of NumPy's stability promise; the methods of `Generator` are not.
    """
    key = np.random.SeedSequence((seed, image_index))
    words = np.random.Philox(key).random_raw(num_crops * _DRAWS)
    numbers = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers.reshape(num_crops, _DRAWS)


def _fallback_box(ratio: tuple[float, float], height: int, width: int) -> tuple[int, int, int, int]:
    """Return the largest centred box whose aspect is allowed: what RandomResizedCrop falls back to."""
    crop_height, crop_width = height, width
    if width / height < ratio[0]:
        crop_height = min(height, max(1, round(width / ratio[0])))
    elif width / height > ratio[1]:
        crop_width = min(width, max(1, round(height * ratio[1])))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


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


def render_center(image: Tensor, out: Tensor, interpolation: Interpolation) -> None:
    """Write the evaluation view of `image` (uint8 [3, H, W]) into `out` (uint8 [3, S, S]).

    The shorter side is resized to S · 256 / 224 and the centre is cut out, as ImageNet is evaluated.
    """
    size = out.shape[-1]
    # Of a strip thousands of times longer than wide, the resized image would not fit in memory.
    most = _MAX_ASPECT * min(image.shape[-2:])
    top, left = (max(0, (side - most) // 2) for side in image.shape[-2:])
    image = image[:, top : top + most, left : left + most]
    height, width = image.shape[-2:]
    short = max(size, round(size * 256 / 224))
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
