"""From a box and a flip to pixels, on the CPU.

Both stages call `render`, so the pixels that a student sees are the pixels that the teacher labelled.
Legend: H and W are the height and width of an image, h and w those of a rendered view.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fkd.config import CROP_SHARE, Fit, Interpolation, Size, sides_of
from fkd.views.fitting import PADDING, fitted

RENDERER = "torch-antialias-uint8-1"
_MAX_ASPECT = 64  # of what is resized to be evaluated

_KERNELS = {
    "bilinear": torch.ops.aten._upsample_bilinear2d_aa.out,
    "bicubic": torch.ops.aten._upsample_bicubic2d_aa.out,
}


def empty_views(
    count: int, size: Size, device: torch.device | None = None, *, pin: bool = False
) -> Tensor:
    """Return an uninitialised uint8 [count, 3, h, w] buffer for views, in channels-last memory.

    On the CPU, `pin` makes the memory page-locked, so that CUDA copies from it while the CPU goes on.
    """
    shape = (count, *sides_of(size), 3)
    if device is None and not pin:
        # NumPy asks for no more than it needs. torch asks for aligned memory, which glibc cuts out of a
        # larger piece: a buffer that was freed is too small for the next one, and new pages come slowly.
        views = torch.from_numpy(np.empty(shape, np.uint8))
    else:
        views = torch.empty(
            shape, dtype=torch.uint8, device=device, pin_memory=pin and device is None
        )
    return views.permute(0, 3, 1, 2)


def render(
    image: Tensor,
    box: NDArray[np.uint16] | Sequence[int],
    flip: bool,
    out: Tensor,
    interpolation: Interpolation,
    fit: Fit = "fill",
) -> None:
    """Write one view of `image` (uint8 [3, H, W]) into `out` (uint8 [3, h, w]).

    Crop, antialiased resize, then flip. The kernel behind `functional.interpolate` is called itself:
    it takes the crop as a view of a channels-last image and writes straight into the batch, which
    saves two copies and half of the time on small crops. It equals torchvision's `resized_crop`.
    With `fit` "pad" that is the part of the view which `fitted` says, and the rest is `PADDING`.
    """
    if fit == "pad":
        high, wide = fitted(np.asarray(box)[2:], (out.shape[-2], out.shape[-1])).tolist()
        inside = empty_views(1, (high, wide))[0]  # the kernel writes to memory in one piece alone
        render(image, box, flip, inside, interpolation)
        out.fill_(PADDING)
        out[:, :high, :wide] = inside
        return
    top, left, height, width = (int(edge) for edge in box)
    crop = image[None, :, top : top + height, left : left + width]
    _KERNELS[interpolation](crop, out.shape[-2:], False, None, None, out=out[None])
    if flip:
        out.copy_(out.flip(-1))


def resized_side(side: int, crop: float = CROP_SHARE) -> int:
    """Return the side in pixels of which `side` is cut out, where that is the share `crop` of it.

    timm rounds down what is rounded here; for ImageNet's 224 of 256 pixels both are the same.
    """
    return max(side, round(side / crop))


def render_center(
    image: Tensor,
    out: Tensor,
    interpolation: Interpolation,
    crop: float = CROP_SHARE,
    fit: Fit = "fill",
) -> None:
    """Write the evaluation view of `image` (uint8 [3, H, W]) into `out` (uint8 [3, h, w]).

    The image is resized until it just covers `resized_side` of both sides, and the centre is cut out. For
    a square view, that resizes its shorter side. With `fit` "pad" it is resized until it just fits.
    """
    sides, size = (image.shape[-2], image.shape[-1]), (out.shape[-2], out.shape[-1])
    if fit == "pad":
        render(image, (0, 0, *sides), False, out, interpolation, fit)
        return
    cut = center_cut(sides, size, crop)
    (top, left), (height, width) = cut.corner, cut.sides
    image = image[:, top : top + height, left : left + width]
    pixels = functional.interpolate(image[None], cut.resized, mode=interpolation, antialias=True)[0]
    top, left = cut.offset
    out.copy_(pixels[:, top : top + size[0], left : left + size[1]])


@dataclass(frozen=True)
class CenterCut:
    """How an evaluation view is cut out: (height, width), or (top, left), each.

    The part of the image at `corner`, of these `sides`, becomes `resized` pixels, of which the view
    begins at `offset`.
    """

    corner: tuple[int, int]
    sides: tuple[int, int]
    resized: tuple[int, int]
    offset: tuple[int, int]


def center_cut(image: tuple[int, int], size: tuple[int, int], crop: float) -> CenterCut:
    """Return how a view of `size` (h, w) is cut out of an `image` (H, W); see `render_center`."""
    # Of a strip thousands of times longer than wide, the resized image would not fit in memory.
    most = _MAX_ASPECT * min(image)
    top, left = (max(0, (side - most) // 2) for side in image)
    height, width = min(image[0] - top, most), min(image[1] - left, most)
    least = [resized_side(side, crop) for side in size]
    if least[1] * height <= least[0] * width:
        resized = (least[0], max(least[1], int(least[0] * width / height)))
    else:
        resized = (max(least[0], int(least[1] * height / width)), least[1])
    above, before = (round((is_ - cut) / 2) for is_, cut in zip(resized, size, strict=True))
    return CenterCut((top, left), (height, width), resized, (above, before))


def normalize(
    pixels: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Tensor:
    """Turn uint8 [B, 3, h, w] into float32 `(pixels / 255 - mean) / std` on the same device."""
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
