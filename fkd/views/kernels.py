"""The renderer's arithmetic as three kernels for GPUs, written in Triton.

Tensor operations write each sum of theirs to the GPU's memory and read it again. 256 crops of 224 px, of
photos of 500 × 375, move 10 GB so, by counting the operands. These kernels move about 0.2 GB. The first
computes the taps of both directions, the second resamples along the rows of boxes, the third along their
columns.

The taps' arithmetic is that of `taps`, operation by operation, in float64. It is compiled without fused
multiply-adds, which round once where two operations round twice. All that follows is of integers.
"""

from contextlib import nullcontext

import torch
from torch import Tensor

from fkd.config import Interpolation
from fkd.views.fitting import PADDING
from fkd.views.taps import SUPPORT, most_taps
from fkd.views.triton_code import columns_kernel, rows_kernel, taps_kernel

# Output pixels and rows that one program computes: some warps' worth.
_TAPS_AT_ONCE = 128
_ROWS, _COLUMNS = 8, 64
_ROWS_DOWN, _SAMPLES = 4, 256


def render_by_kernels(
    pixels: Tensor,
    crops: Tensor,
    highest: int,
    longest: tuple[int, int],
    interpolation: Interpolation,
    out: Tensor,
) -> None:
    """Render crops of `pixels`, uint8 [P, 3], to their rows of `out`, uint8 [N, h, w, 3] in one piece.

    The arguments are those of `fkd.views.operations.render_by_operations`.
    """
    high, wide = out.shape[1:3]
    count, side = crops.shape[1], max(high, wide)
    pairs = zip(longest, (wide, high), strict=True)
    most = max(most_taps(length, size, interpolation) for length, size in pairs)
    kind = {"PADDED": len(crops) > 7, "REACH": SUPPORT[interpolation]}
    first = torch.empty((2, count, side), dtype=torch.int32, device=pixels.device)
    weight = torch.empty((2, count, most, side), dtype=torch.int32, device=pixels.device)
    bits = torch.empty((2, count), dtype=torch.int32, device=pixels.device)
    narrow = torch.empty((count, highest, wide, 3), dtype=torch.uint8, device=pixels.device)
    taps = first, weight, bits, most
    with torch.cuda.device(pixels.device) if pixels.is_cuda else nullcontext():
        taps_kernel[count, 2](
            crops, *taps, count, high, wide, **kind, BLOCK=_TAPS_AT_ONCE, enable_fp_fusion=False
        )  # fmt: skip
        rows_kernel[count, _parts(highest, _ROWS), _parts(wide, _COLUMNS)](
            pixels, crops, *taps, narrow, highest, count, high, wide, **kind,
            ROWS=_ROWS, COLUMNS=_COLUMNS,
        )  # fmt: skip
        columns_kernel[count, _parts(high, _ROWS_DOWN), _parts(3 * wide, _SAMPLES)](
            narrow, crops, *taps, out, highest, count, high, wide, **kind,
            ROWS=_ROWS_DOWN, SAMPLES=_SAMPLES, PADDING_VALUE=PADDING,
        )  # fmt: skip


def _parts(whole: int, part: int) -> int:
    return -(-whole // part)
