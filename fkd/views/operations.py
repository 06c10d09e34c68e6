"""The renderer's arithmetic in plain tensor operations: a batch of crops in one call, on any device.

A GPU is done with such a table sooner than Python has asked for it: what counts is how many operations
are asked for. So both directions get their weights together, and a whole batch is one table.

Legend: n crops, h and w the height and width of a rendered crop, S either of them, H the height of the
highest box, K taps, the source pixels under one output pixel.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fkd.config import Interpolation
from fkd.views.fitting import PADDING
from fkd.views.taps import Taps, most_taps, taps_of


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


def render_by_operations(
    pixels: Tensor,
    crops: Tensor,
    highest: int,
    longest: tuple[int, int],
    interpolation: Interpolation,
    out: Tensor,
) -> None:
    """Render crops of `pixels`, uint8 [P, 3], to their rows of `out`, uint8 [N, h, w, 3].

    `crops` int64 [7, n], or [9, n] of padded ones, is what `CropTable.beside` makes. `highest` bounds
    the boxes' heights, and `longest` the lengths of a box's rows and columns, as far as taps follow from
    them.
    """
    high, wide = out.shape[1:3]
    inside = crops[7:9] if len(crops) > 7 else None
    known = _Crops(crops[1], crops[2], crops[3:5], crops[5:7], longest, inside)
    rendered = _render(pixels, known, highest, (high, wide), interpolation)
    if inside is not None:
        rendered.masked_fill_(_around(inside, (high, wide)), PADDING)
    if len(rendered) == len(out):
        out.copy_(rendered)
    else:
        out[crops[0]] = rendered.to(torch.uint8)


def _around(inside: Tensor, sides: tuple[int, int]) -> Tensor:
    """Return which pixels are padding, bool [n, h, w, 1]; `inside` [2, n] are widths and heights."""
    across, down = (
        torch.arange(side, device=inside.device) >= length[:, None]
        for side, length in zip(sides[::-1], inside, strict=True)
    )
    outside: Tensor = down[:, :, None] | across[:, None]
    return outside[..., None]


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
