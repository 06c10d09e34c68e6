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

from fkd.config import Interpolation
from fkd.views.boxes import Boxes, Flips

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
"""


def render_views(
    pixels: Tensor,
    boxes: Boxes,
    flips: Flips,
    out: Sequence[Tensor] | Tensor,
    interpolation: Interpolation,
) -> None:
    """Render n views of a decoded image, uint8 [3, H, W], into `out`, n of uint8 [3, h, w].

    `boxes` are [n, 4] and `flips` [n]. The pixels are those of `render`.
    """
    rows = list(out)
    if not len(boxes) == len(flips) == len(rows):
        raise ValueError(f"{len(boxes)} boxes and {len(flips)} flips for {len(rows)} views")
    render_all = _compiled() if os.getpid() == _IMPORTED_IN else _interpreted()
    render_all(pixels, boxes.tolist(), flips.tolist(), rows, interpolation == "bicubic")


@cache
def _compiled() -> Callable[..., None]:
    """Compile the program; a torch without TorchScript runs the same lines in Python."""
    try:
        compiled: Callable[..., None] = torch.jit.CompilationUnit(_PROGRAM).render_all
        return compiled
    except Exception:  # whatever a torch or a Python that has given TorchScript up says
        return _interpreted()


@cache
def _interpreted() -> Callable[..., None]:
    names: dict[str, Any] = {"torch": torch, "Tensor": Tensor, "List": list}
    exec(_PROGRAM, names)
    render_all: Callable[..., None] = names["render_all"]
    return render_all
