"""The pixels of mixed views, from those of both views: on the CPU in one call, or on a device.

All of it is arithmetic of whole numbers, so a mix is the same wherever it is made.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fkd.machine import upload
from fkd.views.mixing import WHOLE, Mixes, hole_pixels
from fkd.views.without_lock import program

# Line by line what `_blended` does, a view at a time, and in place.
_PROGRAM = """
def blend_all(
    own: List[Tensor], others: List[Tensor], shares: List[int], holes: List[List[int]]
) -> None:
    for one, other, share, hole in zip(own, others, shares, holes):
        if share < 256:
            mixed = one.to(torch.int32).mul_(share).add_(other.to(torch.int32), alpha=256 - share)
            one.copy_(mixed.add_(128).bitwise_right_shift_(8))
        top, bottom, left, right = hole
        if top < bottom and left < right:
            inside = one.narrow(1, top, bottom - top).narrow(2, left, right - left)
            inside.copy_(other.narrow(1, top, bottom - top).narrow(2, left, right - left))
"""


def blend_views(own: Sequence[Tensor], others: Sequence[Tensor], mixes: Mixes) -> None:
    """Mix n views with others, all uint8 [3, h, w], in place.

    Outside of its hole a pixel becomes (share · own + (256 - share) · other + 128) >> 8, inside it is
    the other's. The views of `own` may be of several sizes, each as large as its other one.
    """
    if not own:
        return
    sides = [(view.shape[-2], view.shape[-1]) for view in own]
    edges = np.empty(mixes.hole.shape, np.int64)
    for size in set(sides):
        rows = [side == size for side in sides]
        edges[rows] = hole_pixels(mixes.hole[rows], size)
    blend_all = program(_PROGRAM, "blend_all")
    blend_all(list(own), list(others), mixes.share.tolist(), edges.tolist())


def blend_on_device(own: Tensor, others: Tensor, mixes: Mixes) -> Tensor:
    """Return n views uint8 [n, 3, h, w] mixed with others of that shape, on their device."""
    height, width = own.shape[-2:]
    edges = hole_pixels(mixes.hole, (height, width))
    table = np.concatenate([mixes.share[:, None].astype(np.int64), edges], axis=1)
    share, *hole = upload(torch.from_numpy(np.ascontiguousarray(table.T)), own.device).unbind()
    return _blended(own, others, share, hole)


def _blended(own: Tensor, others: Tensor, share: Tensor, hole: Sequence[Tensor]) -> Tensor:
    top, bottom, left, right = (edge.view(-1, 1, 1, 1) for edge in hole)
    rows = torch.arange(own.shape[-2], device=own.device).view(1, 1, -1, 1)
    columns = torch.arange(own.shape[-1], device=own.device)
    inside = ((rows >= top) & (rows < bottom)) & ((columns >= left) & (columns < right))
    weight = share.int().view(-1, 1, 1, 1).masked_fill(inside, 0)
    mixed = own.int().mul_(weight).addcmul_(others.int(), WHOLE - weight)
    return mixed.add_(WHOLE // 2).bitwise_right_shift_(8).to(torch.uint8)
