"""Many crops of one image in a single call, which gives Python's lock away once.

Threads that render and the loop that trains share the lock. Each call of torch's gives it away and waits
for it again, and there were two or more a crop. What TorchScript runs needs no lock until it is done.

TorchScript has locks of its own. A process that is forked while a thread holds one never gets it, and
hangs: a loader's worker beside threads that render. So forked processes run the same lines in Python.
"""

import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from fkd.config import Fit, Interpolation
from fkd.views.boxes import Boxes, Flips
from fkd.views.fitting import PADDING, fitted

_IMPORTED_IN = os.getpid()

# Line by line what `render` does. A program made of text is parsed by torch alone.
_PROGRAM = """
def render_all(
    image: Tensor, boxes: List[List[int]], flips: List[bool], rows: List[Tensor], bicubic: bool
) -> None:
    for box, flip, row in zip(boxes, flips, rows):
        top, left, height, width = box
        crop = image.narrow(1, top, height).narrow(2, left, width).unsqueeze(0)
        size, out = row.shape[-2:], row.unsqueeze(0)
        if bicubic:
            torch.ops.aten._upsample_bicubic2d_aa(crop, size, False, None, None, out=out)
        else:
            torch.ops.aten._upsample_bilinear2d_aa(crop, size, False, None, None, out=out)
        if flip:
            row.copy_(row.flip(-1))

def pad_all(
    image: Tensor, boxes: List[List[int]], flips: List[bool], rows: List[Tensor], bicubic: bool,
    sides: List[List[int]], grey: int
) -> None:
    for box, flip, row, side in zip(boxes, flips, rows, sides):
        high, wide = side
        inside = torch.empty([high, wide, 3], dtype=torch.uint8).permute(2, 0, 1)
        render_all(image, [box], [flip], [inside], bicubic)
        row.fill_(grey)
        row.narrow(1, 0, high).narrow(2, 0, wide).copy_(inside)
"""


def render_views(
    pixels: Tensor,
    boxes: Boxes,
    flips: Flips,
    out: Sequence[Tensor] | Tensor,
    interpolation: Interpolation,
    fit: Fit = "fill",
) -> None:
    """Render n views of a decoded image, uint8 [3, H, W], into `out`, n of uint8 [3, h, w].

    `boxes` are [n, 4] and `flips` [n]. The pixels are those of `render`, which says what `fit` is.
    """
    rows = list(out)
    if not len(boxes) == len(flips) == len(rows):
        raise ValueError(f"{len(boxes)} boxes and {len(flips)} flips for {len(rows)} views")
    crops = pixels, boxes.tolist(), flips.tolist(), rows, interpolation == "bicubic"
    if fit == "fill":
        program(_PROGRAM, "render_all")(*crops)
    elif rows:
        sides = fitted(boxes[:, 2:], (rows[0].shape[-2], rows[0].shape[-1]))
        program(_PROGRAM, "pad_all")(*crops, sides.tolist(), PADDING)


def program(text: str, name: str) -> Callable[..., None]:
    """Return the function of this name in a text, to run without the lock where that is possible."""
    return _compiled(text, name) if os.getpid() == _IMPORTED_IN else _interpreted(text, name)


@cache
def _compiled(text: str, name: str) -> Callable[..., None]:
    """Compile a program; a torch without TorchScript runs the same lines in Python."""
    try:
        compiled: Callable[..., None] = getattr(torch.jit.CompilationUnit(text), name)
        return compiled
    except Exception:  # whatever a torch or a Python that has given TorchScript up says
        return _interpreted(text, name)


@cache
def _interpreted(text: str, name: str) -> Callable[..., None]:
    names: dict[str, Any] = {"torch": torch, "Tensor": Tensor, "List": list}
    exec(text, names)
    function: Callable[..., None] = names[name]
    return function
