"""The renderer's arithmetic in plain tensor operations: crops of many images in one batched call.

`render_cpu` gives one crop to a CPU thread; this gives a batch to a GPU. Both compute the same
integers: antialiased resampling along the rows of a box, then along its columns, with weights rounded
to int16 for each crop and samples rounded after each direction, as torch's uint8 kernel does.

Everything that describes the crops goes to the device in one copy that waits for nothing.
A GPU is done with such a table sooner than Python has asked for it: what counts is how many operations
are asked for. So both directions get their weights together, and a whole batch is one table.

Legend: n crops, h and w the height and width of a rendered crop, S either of them, H the height of the
highest box, K taps, the source pixels under one output pixel.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import Fit, Interpolation, Size, sides_of
from fkd.machine import upload
from fkd.views.boxes import Boxes, Flips
from fkd.views.fitting import PADDING, fitted
from fkd.views.taps import Taps, most_taps, taps_of

# Working memory of one go. A table of crops is rendered in as many goes as that allows. On CUDA that is a
# whole batch, but no more than a sixteenth of its memory; on a CPU less memory stays in the caches.
_WORKING_BYTES = 256 * 2**20
_WORKING_BYTES_ON_CUDA = 2**30
_BYTES_PER_PIXEL = 23  # an int64 index, three samples in uint8, three sums in int32


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

    @classmethod
    def of_images(
        cls, sides: NDArray[np.int64], image: NDArray[np.int64], box: Boxes, flip: Flips
    ) -> "CropTable":
        """Describe n crops of k images that lie behind one another.

        `sides` int64 [k, 2] are the images' height and width; `image` int64 [n] says whose a crop is.
        """
        area = sides.prod(axis=1)
        first = area.cumsum() - area
        return cls(first[image], sides[image, 1], box.astype(np.int64), flip)

    def take(self, rows: NDArray[np.int64]) -> "CropTable":
        """Return some of the crops."""
        return CropTable(self.first[rows], self.width[rows], self.box[rows], self.flip[rows])

    def beside(self, rows: NDArray[np.int64], fits: NDArray[np.int64] | None) -> Tensor:
        """Return `rows`, int64 [n], and what `_Crops` is made of as one tensor, int64 [7, n] or [9, n].

        `fits`, int64 [n, 2], are the height and width of padded crops in their views.
        """
        top, left, height, width = self.box.T
        corner = self.first + top * self.width + left
        flip = self.flip.astype(np.int64)
        # Each direction's lengths, and whether it is mirrored, lie behind one another.
        columns = [rows, corner, self.width, width, height, flip, np.zeros_like(flip)]
        columns += [] if fits is None else [fits[:, 1], fits[:, 0]]
        return torch.from_numpy(np.stack(columns))

    @property
    def largest(self) -> tuple[int, int]:
        """Height of the highest box and width of the widest."""
        height, width = self.box[:, 2:].max(axis=0).tolist()
        return height, width


@dataclass(frozen=True)
class _Crops:
    """A `CropTable` on the device, int64: `corner` [n] numbers the first pixel of each crop.

    `lengths` and `mirrored` [2, n] are of both directions: along a box's rows, then along its columns.
    `longest` bounds the lengths, as far as taps follow from them. Where crops are padded, `fitted` [2, n]
    are their lengths in the view.
    """

    corner: Tensor
    row_length: Tensor
    lengths: Tensor
    mirrored: Tensor
    longest: tuple[int, int]
    fitted: Tensor | None = None


def render_table(
    pixels: Tensor,
    table: CropTable,
    size: Size,
    interpolation: Interpolation,
    out: Tensor | None = None,
    fit: Fit = "fill",
) -> Tensor:
    """Render crops on the device of `pixels`, uint8 [P, 3]: uint8 [n, 3, h, w], channels last.

    They are written to `out` where it is given. `fit` is that of `fkd.views.render`.
    """
    count, sides = len(table.first), sides_of(size)
    views = pixels.new_empty((count, *sides, 3)) if out is None else out.permute(0, 2, 3, 1)
    for rows in _goes(table.box[:, 2], sides[1], _working_bytes(pixels.device)):
        part = table.take(rows)
        fits = fitted(part.box[:, 2:], size) if fit == "pad" else None
        there = upload(part.beside(rows, fits), pixels.device)
        longest = part.largest if fits is None else _as_if_filled(part, fits, sides)
        inside = None if fits is None else there[7:9]
        crops = _Crops(there[1], there[2], there[3:5], there[5:7], longest[::-1], inside)
        rendered = _render(pixels, crops, part.largest[0], sides, interpolation)
        if inside is not None:
            rendered.masked_fill_(_around(inside, sides), PADDING)
        if len(rows) == count:
            views.copy_(rendered)
        else:
            views[there[0]] = rendered.to(torch.uint8)
    return views.permute(0, 3, 1, 2)


def _as_if_filled(
    table: CropTable, fits: NDArray[np.int64], sides: tuple[int, int]
) -> tuple[int, int]:
    """Return the lengths of boxes that need as many taps where they fill views of `sides`."""
    high, wide = np.ceil((table.box[:, 2:] / fits).max(axis=0) * sides).astype(np.int64).tolist()
    return high, wide


def _around(inside: Tensor, sides: tuple[int, int]) -> Tensor:
    """Return which pixels are padding, bool [n, h, w, 1]; `inside` [2, n] are widths and heights."""
    across, down = (
        torch.arange(side, device=inside.device) >= length[:, None]
        for side, length in zip(sides[::-1], inside, strict=True)
    )
    outside: Tensor = down[:, :, None] | across[:, None]
    return outside[..., None]


def _working_bytes(device: torch.device) -> int:
    """Return how much memory one go may take."""
    if device.type != "cuda":
        return _WORKING_BYTES
    whole = int(torch.cuda.get_device_properties(device).total_memory)
    return max(_WORKING_BYTES, min(_WORKING_BYTES_ON_CUDA, whole // 16))


def _goes(height: NDArray[np.int64], width: int, most: int) -> Iterator[NDArray[np.int64]]:
    """Share crops out to goes of `most` bytes; with more than one, similar heights go together.

    A go holds all rows of its boxes, resampled to `width` pixels each, and pads them to the highest.
    """
    each = width * _BYTES_PER_PIXEL
    if not len(height) or len(height) * each * int(height.max()) <= most:
        yield np.arange(len(height))
        return
    order = np.argsort(height, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        if stop == len(order) or (stop + 1 - start) * each * int(height[order[stop]]) > most:
            yield order[start:stop]
            start = stop


def _render(
    pixels: Tensor,
    crops: _Crops,
    highest: int,
    sides: tuple[int, int],
    interpolation: Interpolation,
) -> Tensor:
    """Render crops in one go: samples int32 [n, h, w, 3]; `highest` bounds their height."""
    high, wide = sides
    across, down = _both_taps(crops, (wide, high), interpolation)
    row = torch.arange(highest, device=pixels.device).minimum(crops.lengths[1][:, None] - 1)
    corner = (row * crops.row_length[:, None]).add_(crops.corner[:, None])[:, :, None]
    narrow = _resample(across, lambda x: pixels[corner + x[:, None]], (-1, 1, wide, 1))

    narrow = narrow.to(torch.uint8)
    crop = torch.arange(len(narrow), device=pixels.device)[:, None]
    return _resample(down, lambda y: narrow[crop, y], (-1, high, 1, 1))


def _both_taps(
    crops: _Crops, sizes: tuple[int, int], interpolation: Interpolation
) -> tuple[Taps, Taps]:
    """Compute the taps of both directions, together where S is the same."""
    longest, fits = crops.longest, crops.fitted
    if sizes[0] != sizes[1]:
        across, down = (
            taps_of(
                crops.lengths[n], longest[n], sizes[n], interpolation, crops.mirrored[n],
                None if fits is None else fits[n],
            )
            for n in (0, 1)
        )  # fmt: skip
        return across, down
    lengths, mirrored = crops.lengths.reshape(-1), crops.mirrored.reshape(-1)
    fits = None if fits is None else fits.reshape(-1)
    both = taps_of(lengths, max(longest), sizes[0], interpolation, mirrored, fits)
    # The shorter direction has fewer taps, and zeros behind them.
    counts = [most_taps(length, sizes[0], interpolation) for length in longest]
    halves = zip(
        both.position.chunk(2), both.weight.chunk(2), both.bits.chunk(2), counts, strict=True
    )
    across, down = (Taps(p[..., :k], w[..., :k], bits) for p, w, bits, k in halves)
    return across, down


def _resample(
    taps: Taps, sample: Callable[[Tensor], Tensor], along: tuple[int, int, int, int]
) -> Tensor:
    """Sum samples times weights and round: int32 of 0 to 255.

    `sample` maps positions [n, S] to samples.
    """
    bits = taps.bits.int()[:, None, None, None]
    half = 1 << (bits - 1)
    total: Tensor | None = None
    for position, weight in zip(taps.position.unbind(2), taps.weight.unbind(2), strict=True):
        term = sample(position), weight.reshape(along)
        total = torch.addcmul(half, *term) if total is None else total.addcmul_(*term)
    assert total is not None
    return total.bitwise_right_shift_(bits).clamp_(0, 255)
