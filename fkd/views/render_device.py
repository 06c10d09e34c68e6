"""Crops of many images rendered by a device: the pixels that `render_cpu` gives, one crop a thread.

All compute the same integers: antialiased resampling along the rows of a box, then along its columns,
with weights rounded to int16 for each crop and samples rounded after each direction, as torch's uint8
kernel does. On CUDA three kernels do it (`kernels`), elsewhere plain tensor operations (`operations`).

Everything that describes the crops goes to the device in one copy that waits for nothing.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import Fit, Interpolation, Size, sides_of
from fkd.errors import first_line
from fkd.machine import upload
from fkd.progress import note_once
from fkd.views.crop_table import CropTable
from fkd.views.fitting import fitted
from fkd.views.operations import render_by_operations

# Working memory of one go. A table of crops is rendered in as many goes as that allows. On CUDA that is a
# whole batch, but no more than a sixteenth of its memory; on a CPU less memory stays in the caches.
_WORKING_BYTES = 256 * 2**20
_WORKING_BYTES_ON_CUDA = 2**30
_BYTES_PER_PIXEL = 23  # of operations: an int64 index, three samples in uint8, three sums in int32
_BYTES_PER_PIXEL_OF_KERNELS = 3  # samples in uint8


def render_table(
    pixels: Tensor,
    table: CropTable,
    size: Size,
    interpolation: Interpolation,
    out: Tensor | None = None,
    fit: Fit = "fill",
    *,
    fused: bool = True,
) -> Tensor:
    """Render crops on the device of `pixels`, uint8 [P, 3]: uint8 [n, 3, h, w], channels last.

    They are written to `out` where it is given. `fit` is that of `fkd.views.render`. On a CUDA device
    kernels of our own render, unless they do not work there or are not to be `fused`.
    """
    views = out
    if views is None:
        pixel_rows = pixels.new_empty((len(table.first), *sides_of(size), 3))
        views = pixel_rows.permute(0, 3, 1, 2)
    rows = views.permute(0, 2, 3, 1)
    # Kernels write to one piece of memory.
    kernels = fused and rows.is_contiguous() and kernels_render(pixels.device, interpolation, fit)
    _render(pixels, table, interpolation, fit, rows, kernels=kernels)
    return views


def _render(
    pixels: Tensor,
    table: CropTable,
    interpolation: Interpolation,
    fit: Fit,
    out: Tensor,
    *,
    kernels: bool,
) -> None:
    """Render crops to `out`, uint8 [n, h, w, 3]."""
    high, wide = out.shape[1:3]
    each = wide * (_BYTES_PER_PIXEL_OF_KERNELS if kernels else _BYTES_PER_PIXEL)
    for rows in _goes(table.box[:, 2], each, _working_bytes(pixels.device)):
        part = table.take(rows)
        fits = fitted(part.box[:, 2:], (high, wide)) if fit == "pad" else None
        crops = upload(part.beside(rows, fits), pixels.device)
        longest = part.largest if fits is None else _as_if_filled(part, fits, (high, wide))
        how = crops, part.largest[0], longest[::-1], interpolation, out
        if kernels:
            from fkd.views.kernels import render_by_kernels  # of Triton, which is not everywhere

            render_by_kernels(pixels, *how)
        else:
            render_by_operations(pixels, *how)


@cache
def kernels_render(device: torch.device, interpolation: Interpolation, fit: Fit) -> bool:
    """Return whether kernels render on a device: they run there, and give what tensor operations give.

    Where a GPU cannot run them, as without Triton or a compiler for C, that is said once.
    """
    if device.type != "cuda":
        return False
    try:
        trials = (_trial(device, interpolation, fit, kernels=by) for by in (True, False))
        why = "" if torch.equal(*trials) else "their pixels are others on this device"
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of Triton, its compilers or the driver
        why = first_line(error)
    if why:
        note_once(
            "crops are rendered by tensor operations, which take a GPU longer, since kernels do not work "
            f"here: {why}"
        )
    return not why


def _trial(
    device: torch.device, interpolation: Interpolation, fit: Fit, *, kernels: bool
) -> Tensor:
    """Render crops of noise of many sizes."""
    rng = np.random.default_rng(0)
    sides = np.array([[97, 131], [40, 300]])
    pixels = torch.from_numpy(rng.integers(0, 256, (int(sides.prod(axis=1).sum()), 3), np.uint8))
    image = np.arange(24) % 2
    corner, size = rng.uniform(size=(24, 2)), rng.uniform(size=(24, 2)) ** 2
    lengths = np.ceil(size * sides[image]).astype(np.int64)
    box = np.concatenate([((sides[image] - lengths) * corner).astype(np.int64), lengths], axis=1)
    table = CropTable.of_images(sides, image, box, rng.integers(0, 2, 24) == 1)
    out = torch.empty((24, 40, 56, 3), dtype=torch.uint8, device=device)
    _render(pixels.to(device), table, interpolation, fit, out, kernels=kernels)
    return out


def _as_if_filled(
    table: CropTable, fits: NDArray[np.int64], sides: tuple[int, int]
) -> tuple[int, int]:
    """Return the lengths of boxes that need as many taps where they fill views of `sides`."""
    high, wide = np.ceil((table.box[:, 2:] / fits).max(axis=0) * sides).astype(np.int64).tolist()
    return high, wide


def _working_bytes(device: torch.device) -> int:
    """Return how much memory one go may take."""
    if device.type != "cuda":
        return _WORKING_BYTES
    whole = int(torch.cuda.get_device_properties(device).total_memory)
    return max(_WORKING_BYTES, min(_WORKING_BYTES_ON_CUDA, whole // 16))


def _goes(height: NDArray[np.int64], each: int, most: int) -> Iterator[NDArray[np.int64]]:
    """Share crops out to goes of `most` bytes; with more than one, similar heights go together.

    A go holds all rows of its boxes, of `each` so many bytes, and pads them to the highest.
    """
    if not len(height) or len(height) * each * int(height.max()) <= most:
        yield np.arange(len(height))
        return
    order = np.argsort(height, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        if stop == len(order) or (stop + 1 - start) * each * int(height[order[stop]]) > most:
            yield order[start:stop]
            start = stop
