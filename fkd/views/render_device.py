"""The renderer's arithmetic in plain tensor operations: crops of many images in one batched call.

`render_cpu` gives one crop to a CPU thread; this gives a batch to a GPU. Both compute the same
integers: antialiased resampling along the rows of a box, then along its columns, with weights rounded
to int16 for each crop and samples rounded after each direction, as torch's uint8 kernel does.

A weight must come out the same to the last bit on every device, so its arithmetic keeps to operations
that are rounded correctly everywhere. A GPU divides by a Python number through the number's reciprocal,
takes powers approximately and sums in an order of its own; none of the three is used. Everything that
describes the crops goes to the device in one copy that waits for nothing.

Legend: n crops, h and w the height and width of a rendered crop, S either of them, H the height of the
highest box, K taps, the source pixels under one output pixel.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import Interpolation, Size, sides_of
from fkd.machine import upload

_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}  # half the kernel's width, in output pixels
_CUBIC = -0.5
_MOST_BITS = 22  # of a weight, behind the point

# Working memory of one go. A table of crops is rendered in as many goes as that allows.
_WORKING_BYTES = 256 * 2**20
_BYTES_PER_SAMPLE = 36  # an int64 index, three uint8 samples, three products and sums in int32


@dataclass(frozen=True)
class CropTable:
    """Which crops to render, on the CPU; images lie behind one another in one run of pixels.

    `first` int64 [n] numbers the first pixel of each crop's image, `width` int64 [n] is the image's
    width, `box` int64 [n, 4] (top, left, height, width) and `flip` bool [n].
    """

    first: NDArray[np.int64]
    width: NDArray[np.int64]
    box: NDArray[np.int64]
    flip: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64]) -> "CropTable":
        """Return some of the crops."""
        return CropTable(self.first[rows], self.width[rows], self.box[rows], self.flip[rows])

    def beside(self, rows: NDArray[np.int64]) -> Tensor:
        """Return `rows`, int64 [n], and then the columns of `_Crops` as one tensor, int64 [8, n]."""
        columns = [rows, self.first, self.width, *self.box.T, self.flip.astype(np.int64)]
        return torch.from_numpy(np.stack(columns))

    @property
    def largest(self) -> tuple[int, int]:
        """Height of the highest box and width of the widest."""
        height, width = self.box[:, 2:].max(axis=0).tolist()
        return height, width


@dataclass(frozen=True)
class _Crops:
    """A `CropTable` on the device, int64 [n] each."""

    first: Tensor
    row_length: Tensor
    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor


def render_table(
    pixels: Tensor, table: CropTable, size: Size, interpolation: Interpolation
) -> Tensor:
    """Render crops on the device of `pixels`, uint8 [P, 3]: uint8 [n, 3, h, w], channels last."""
    sides = sides_of(size)
    views = pixels.new_empty((len(table.first), *sides, 3))
    for rows in _goes(table.box[:, 2], sides[1]):
        part = table.take(rows)
        where, *columns = upload(part.beside(rows), pixels.device).unbind()
        views[where] = _render(pixels, _Crops(*columns), part.largest, sides, interpolation)
    return views.permute(0, 3, 1, 2)


def render_views_on_device(
    pixels: Tensor,
    boxes: NDArray[np.uint16],
    flips: NDArray[np.bool_],
    out: Tensor,
    interpolation: Interpolation,
) -> None:
    """Render crops of one image, uint8 [3, H, W], into `out`, uint8 [n, 3, h, w]."""
    width, count = pixels.shape[-1], len(boxes)
    table = CropTable(
        np.zeros(count, np.int64), np.full(count, width), boxes.astype(np.int64), flips
    )
    flat = pixels.permute(1, 2, 0).reshape(-1, 3)
    height, width = out.shape[-2:]
    out.copy_(render_table(flat, table, (height, width), interpolation))


def _goes(height: NDArray[np.int64], width: int) -> Iterator[NDArray[np.int64]]:
    """Share crops out to goes: similar heights together, since all are padded to the highest.

    A go holds all rows of its boxes, resampled to `width` pixels each.
    """
    order = np.argsort(height, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        full = stop == len(order)
        if not full:
            samples = (stop + 1 - start) * width * int(height[order[stop]])
            full = samples * _BYTES_PER_SAMPLE > _WORKING_BYTES
        if full:
            yield order[start:stop]
            start = stop


def _render(
    pixels: Tensor,
    crops: _Crops,
    largest: tuple[int, int],
    sides: tuple[int, int],
    interpolation: Interpolation,
) -> Tensor:
    """Render crops in one go, uint8 [n, h, w, 3]; `largest` bounds their height and width."""
    device, (highest, widest), (high, wide) = pixels.device, largest, sides
    across = _taps(crops.width, widest, wide, interpolation)
    across = across.mirrored(crops.flip.bool())
    row = torch.arange(highest, device=device).minimum(crops.height[:, None] - 1)
    above = (crops.top[:, None] + row) * crops.row_length[:, None]
    corner = crops.first[:, None] + above + crops.left[:, None]
    narrow = _resample(across, lambda x: pixels[corner[:, :, None] + x[:, None]], (-1, 1, wide, 1))

    down = _taps(crops.height, highest, high, interpolation)
    crop = torch.arange(len(crops.height), device=device)[:, None]
    return _resample(down, lambda y: narrow[crop, y], (-1, high, 1, 1))


@dataclass(frozen=True)
class _Taps:
    """What output pixels are made of: source positions int64 and weights int32, [n, S, K].

    A weight counts 2^-bits; `bits` int32 [n].
    """

    position: Tensor
    weight: Tensor
    bits: Tensor

    def mirrored(self, flip: Tensor) -> "_Taps":
        """Reverse the output pixels of flipped crops."""
        flip = flip[:, None, None]
        position = torch.where(flip, self.position.flip(1), self.position)
        weight = torch.where(flip, self.weight.flip(1), self.weight)
        return _Taps(position, weight, self.bits)


def _taps(length: Tensor, longest: int, size: int, interpolation: Interpolation) -> _Taps:
    """Compute the taps of n sides of `length` int64 [n] that become S pixels each."""
    device = length.device
    # MPS has no float64; the few numbers cost the CPU nothing.
    length = length.cpu() if device.type == "mps" else length
    reach = _SUPPORT[interpolation]
    scale = length.double()[:, None] / torch.full_like(length, size, dtype=torch.float64)[:, None]
    stretch = scale.clamp(min=1.0)
    center = scale * (torch.arange(size, device=length.device) + 0.5)
    begin = (center - reach * stretch + 0.5).long().clamp(min=0)
    end = (center + reach * stretch + 0.5).long().minimum(length[:, None])
    most = 2 * math.ceil(reach * max(1.0, longest / size)) + 1
    position = begin[..., None] + torch.arange(most, device=length.device)
    weight = _kernel(
        (position - center[..., None] + 0.5) * (1.0 / stretch)[..., None], interpolation
    )
    weight = weight.masked_fill(position >= end[..., None], 0.0)
    total = torch.zeros_like(center)
    for tap in weight.unbind(2):  # in the kernel's order
        total = total + tap
    weight = weight / total[..., None]
    heaviest = weight.amax(dim=(1, 2))
    powers = (1 << torch.arange(1, _MOST_BITS + 1, device=length.device)).double()
    bits = ((heaviest[:, None] * powers + 0.5).long() < 2**15).sum(dim=1)
    rounded = weight * (1 << bits).double()[:, None, None]
    rounded = (rounded + torch.where(rounded < 0, -0.5, 0.5)).int()
    position = position.minimum(length[:, None, None] - 1)
    return _Taps(position.to(device), rounded.to(device), bits.int().to(device))


def _kernel(x: Tensor, interpolation: Interpolation) -> Tensor:
    """The resampling kernel at a distance of x output pixels."""
    x = x.abs()
    if interpolation == "bilinear":
        return (1.0 - x).clamp(min=0.0)
    near = ((_CUBIC + 2.0) * x - (_CUBIC + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * _CUBIC
    return torch.where(x < 1.0, near, torch.where(x < 2.0, far, 0.0))


def _resample(
    taps: _Taps, sample: Callable[[Tensor], Tensor], along: tuple[int, int, int, int]
) -> Tensor:
    """Sum samples times weights and round to uint8; `sample` maps positions [n, S] to source samples."""
    bits = taps.bits[:, None, None, None]
    total = (1 << (bits - 1)).int()
    for k in range(taps.position.shape[2]):
        weight = taps.weight[:, :, k].reshape(along)
        total = total + sample(taps.position[:, :, k]) * weight
    return (total >> bits).clamp_(0, 255).to(torch.uint8)
