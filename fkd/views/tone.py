"""The tone of rendered views changes, and a part is erased: pixels for teacher and student alike.

All of it is arithmetic of whole numbers, rounded to uint8 after each step, so a view that is changed
again has the pixels that were labelled, on every machine and device. A step moves each sample x towards
a reference r, or away from it, by a factor f in 128th parts:

    x ← min(255, max(0, x + (((x - r) · (f - 128) + 64) >> 7)))

where >> rounds down. The reference of brightness is 0. With the luma 38 R + 75 G + 15 B of a pixel
(Rec. 601, in 128th parts), that of contrast is the mean luma of the view and that of saturation the
pixel's own, both divided by 128 and rounded, halves up. All but a sum of lumas fits into 16 bits.

Legend: n views of h × w pixels.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import ViewPolicy
from fkd.machine import upload
from fkd.views.draw_tone import SAME, Erased, Factors, Places, tones_of
from fkd.views.mixing import edge_pixel
from fkd.views.without_lock import program

Edges = NDArray[np.int64]  # [n, 4]: first row, end row, first column, end column

# What is erased gets the luma of ImageNet's mean colour: once normalised, each channel is within a
# quarter of a standard deviation of zero.
FILL = 117

# Samples that a device changes in one go, at some eight bytes of working memory each.
_AT_ONCE = 2**26

# What `_toned` does, a view at a time and in place. A pixel's samples stand side by side, so its luma is
# summed over the five samples around each one, with weights of 0 for those of other pixels.
_PROGRAM = """
def toward(x: Tensor, of: Tensor, factor: int, plus: Tensor, seven: Tensor, step: Tensor) -> None:
    torch.add(plus, of, alpha=factor - 128, out=step)
    x.add_(step.bitwise_right_shift_(seven)).clamp_(0, 255)

def tone_all(
    rows: List[Tensor], factors: List[List[int]], edges: List[List[int]], fill: int, room: Tensor
) -> None:
    around = [[0, 0, 38], [0, 38, 75], [38, 75, 15], [75, 15, 0], [15, 0, 0]]
    weights = torch.tensor(around, dtype=torch.int16)
    seven, half = torch.tensor([7, 64], dtype=torch.int16).unbind()
    plus, height, width, step = half.clone(), 0, 0, half
    near, luma = [half], [half]
    for row, factor, edge in zip(rows, factors, edges):
        if [height, width] != row.shape[-2:]:
            height, width = row.shape[-2:]
            count, lines = 3 * height * width, [height, 3 * width]
            near = [room[0, n : n + count].view(lines) for n in range(30, 35)]
            step, luma = room[1, :count].view(lines), weights.repeat([1, width]).unbind()
        area, x = height * width, near[2]
        brightness, contrast, saturation = factor
        if brightness != 128 or contrast != 128 or saturation != 128:
            pixels = row.permute(1, 2, 0).view_as(x)
            x.copy_(pixels)
            if brightness != 128:
                toward(x, x, brightness, half, seven, step)
            if contrast != 128:
                sums = [few.sum(0, dtype=torch.int16) for few in x.split(128)]  # below 2^15
                total = int((torch.stack(sums).to(torch.int64) * luma[2]).sum().item())
                mean = (total + 64 * area) // (128 * area)
                toward(x, x, contrast, plus.fill_(64 - (contrast - 128) * mean), seven, step)
            if saturation != 128:
                step.fill_(64)
                for sample, weight in zip(near, luma):
                    step.addcmul_(sample, weight)
                torch.sub(x, step.bitwise_right_shift_(seven), out=step)
                toward(x, step, saturation, half, seven, step)
            pixels.copy_(x)
        top, bottom, left, right = edge
        if top < bottom and left < right:
            row.narrow(1, top, bottom - top).narrow(2, left, right - left).fill_(fill)
"""


def tone_views(
    policy: ViewPolicy, views: Sequence[Tensor] | Tensor, numbers: Places, crops: Places
) -> None:
    """Change the tone of n rendered views in place, as their policy draws it; mostly it draws none.

    Views are uint8 [3, h, w] as in `apply_tones`, of crops, int64 [n], of images of `numbers`, int64 [n].
    """
    if not policy.tone.plain:
        tones = tones_of(policy.tone, policy.seed, numbers, crops)
        apply_tones(views, tones.factor, tones.hole)


def apply_tones(views: Sequence[Tensor] | Tensor, factor: Factors, hole: Erased) -> None:
    """Change the tone of n views, uint8 [3, h, w] in channels-last memory, in place.

    `factor` u8 [n, 3] and `hole` u16 [n, 4] are those of `draw_tones`. Brightness, contrast and
    saturation change in this order, then the hole becomes grey, as far as `hole_pixels` says. A view of
    factors of 128 without a hole is not touched. On the CPU the views may be of several sizes; on a
    device they are one tensor.
    """
    if not len(views) == len(factor) == len(hole):
        raise ValueError(f"{len(factor)} factors and {len(hole)} holes for {len(views)} views")
    (changed,) = ((factor != SAME).any(axis=1) | (hole[:, 2:] > 0).all(axis=1)).nonzero()
    if isinstance(views, Tensor) and views.device.type != "cpu":
        _on_device(views, changed, factor, hole)
    elif len(changed):
        rows = [views[row] for row in changed.tolist()]
        edges = _edges(hole[changed], np.array([row.shape[-2:] for row in rows]))
        # Samples begin with a cache line, and the lines before and behind them may be read.
        lines = 2 + -(-max(row.numel() for row in rows) // 32)
        room = torch.empty((2, 32 * lines), dtype=torch.int16)
        tone_all = program(_PROGRAM, "tone_all")
        tone_all(rows, factor[changed].tolist(), edges.tolist(), FILL, room)


def _edges(hole: Erased, sides: NDArray[np.int64]) -> Edges:
    """Return the pixels of holes u16 [n, 4] in views of `sides`, int64 [n, 2] or [2]: h and w."""
    start = hole[:, :2].astype(np.int64)
    end = start + hole[:, 2:]
    both = [edge_pixel(edge, sides) for edge in (start, end)]
    edges: Edges = np.stack(both, axis=-1)
    return edges.reshape(-1, 4)


def _on_device(views: Tensor, changed: NDArray[np.int64], factor: Factors, hole: Erased) -> None:
    """Change those of n views on a device, [n, 3, h, w], that do change."""
    sides = np.array(views.shape[-2:])
    at_once = max(1, _AT_ONCE // (3 * int(sides.prod())))
    for first in range(0, len(changed), at_once):
        rows = changed[first : first + at_once]
        columns = rows[:, None], factor[rows].astype(np.int64) - SAME, _edges(hole[rows], sides)
        table = torch.from_numpy(np.ascontiguousarray(np.hstack(columns).T))
        there = upload(table, views.device)  # in one copy, which waits for nothing
        views[there[0]] = _toned(views[there[0]], there[1:4].to(torch.int16), there[4:])


def _toned(views: Tensor, change: Tensor, edges: Tensor) -> Tensor:
    """Return views uint8 [n, 3, h, w] after `change` and without what is inside `edges`.

    `change` int16 [3, n] are factors less 128, `edges` int64 [4, n] those of `_edges`.
    """
    height, width = views.shape[-2:]
    brightness, contrast, saturation = change.view(3, -1, 1, 1, 1)
    x = views.permute(0, 2, 3, 1).to(torch.int16)
    x = _toward(x, 0, brightness)
    area = height * width
    total = _luma(x).sum(dim=(1, 2, 3), keepdim=True, dtype=torch.int64)
    mean = total.add_(64 * area).div_(128 * area, rounding_mode="floor")
    x = _toward(x, mean.to(torch.int16), contrast)
    x = _toward(x, _luma(x).add_(64).bitwise_right_shift_(7), saturation)
    top, bottom, left, right = edges.view(4, -1, 1, 1, 1)
    row = torch.arange(height, device=x.device).view(-1, 1, 1)
    column = torch.arange(width, device=x.device).view(-1, 1)
    inside = ((row >= top) & (row < bottom)) & ((column >= left) & (column < right))
    return x.masked_fill_(inside, FILL).to(torch.uint8).permute(0, 3, 1, 2)


def _toward(x: Tensor, reference: Tensor | int, change: Tensor) -> Tensor:
    step = (x - reference).mul_(change).add_(64).bitwise_right_shift_(7)
    return step.add_(x).clamp_(0, 255)


def _luma(x: Tensor) -> Tensor:
    """Return the luma of pixels int16 [n, h, w, 3], in 128th parts: int16 [n, h, w, 1]."""
    red, green, blue = x[..., :1], x[..., 1:2], x[..., 2:]
    return (red * 38).add_(green, alpha=75).add_(blue, alpha=15)
