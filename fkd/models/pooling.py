"""What a layer of a network said, as one vector or one map of each view.

Legend: B views, T tokens, D numbers of a vector or channels of a map, h and w sides of a map.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fkd.config import Pool, size_text
from fkd.errors import ModelError
from fkd.models.outputs import parts_of


def as_vectors(
    said: Any, pool: Pool, num_views: int, what: str, sides: Sequence[int] = (1, 1)
) -> Tensor:
    """Return vectors [B, D], or maps [B, D, h, w], of what a layer said of B = `num_views` views.

    That is a tensor, or several of which the first with a row for each view counts: [B, D] as it is;
    tokens [B, T, D] as their mean ("auto", "mean") or the first ("cls"); maps [B, D, h, w] as they are
    ("auto", "none") or as their mean. `sides` are the height and width of the views, any equal ones of
    square views: by them maps [B, h, w, D], whose channels stand last, are known, and turned. Raises
    `ModelError`, which calls the layer `what`, for anything else, and for maps that may be either.
    """
    fitting = [part for part in _tensors(said) if _has_rows(part, num_views)]
    if not fitting or fitting[0].dim() > 4:
        raise ModelError(
            f"{what} says {_given(said)}; of {num_views} views it must be vectors [{num_views}, "
            f"numbers], tokens [{num_views}, tokens, numbers] or maps [{num_views}, channels, height, "
            "width]; choose another layer, in it or beside it"
        )
    found = fitting[0]
    if found.dim() == 4 and _channels_last(found, sides, what):
        found = found.permute(0, 3, 1, 2)
    if found.dim() == 2 and pool in ("auto", "none"):
        return found
    if found.dim() == 3 and pool != "none":
        return found[:, 0] if pool == "cls" else mean_of(found, 1)
    if found.dim() == 4 and pool != "cls":
        return found if pool in ("auto", "none") else mean_of(found, (2, 3))
    fits = {2: "auto", 3: "mean or cls", 4: "none or mean"}[found.dim()]
    raise ModelError(f"{what} says {list(found.shape)}, which has no pool {pool}; choose {fits}")


def mean_of(said: Tensor, positions: int | tuple[int, ...]) -> Tensor:
    """Return the mean over positions, f32 at least: in half precision it would be rounded once more."""
    return said.mean(dim=positions, dtype=torch.promote_types(said.dtype, torch.float32))


def _channels_last(found: Tensor, sides: Sequence[int], what: str) -> bool:
    """Say whether a map is [B, h, w, D], as a Swin transformer's, and not [B, D, h, w].

    Of square views maps are square, so that [B, h, h, D] has its channels last unless D is h, too. Of
    other views the grid has their proportion, to less than a position. Where strides differ, as of
    lines of text, it still has no more positions than the view has pixels. Raises `ModelError` where
    neither tells.
    """
    first, middle, last = found.shape[1:]
    if sides[0] == sides[1]:
        return first == middle != last
    for fits in (_in_proportion, _within):
        as_last, as_first = fits((first, middle), sides), fits((middle, last), sides)
        if as_last != as_first:
            return as_last
    raise ModelError(
        f"{what} says {list(found.shape)} of views of {size_text((sides[0], sides[1]))} px, which does "
        "not tell whether channels stand first or last; choose another layer, or square views"
    )


def _in_proportion(grid: tuple[int, int], sides: Sequence[int]) -> bool:
    (rows, columns), (height, width) = grid, sides
    return abs(rows * width - columns * height) < max(height, width)


def _within(grid: tuple[int, int], sides: Sequence[int]) -> bool:
    return grid[0] <= sides[0] and grid[1] <= sides[1]


def _tensors(said: Any) -> list[Tensor]:
    parts = [said] if isinstance(said, Tensor) else parts_of(said).values()
    return [part for part in parts if isinstance(part, Tensor)]


def _has_rows(part: Tensor, num_views: int) -> bool:
    return part.is_floating_point() and part.dim() >= 2 and len(part) == num_views


def _given(said: Any) -> str:
    """Say what a layer said, for a message."""
    if isinstance(said, Tensor):
        return f"{list(said.shape)}" + ("" if said.is_floating_point() else f" of {said.dtype}")
    shapes = ", ".join(str(list(part.shape)) for part in _tensors(said))
    return f"a {type(said).__name__}" + (f" of {shapes}" if shapes else "")
