"""What a layer of a network said, as one vector or one map of each view.

Legend: B views, T tokens, D numbers of a vector or channels of a map, h and w sides of a map.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fkd.config import Pool, size_text
from fkd.errors import ModelError
from fkd.models.outputs import parts_of
from fkd.progress import note_once


def as_vectors(
    said: Any,
    pool: Pool,
    num_views: int,
    what: str,
    sides: Sequence[int] = (1, 1),
    *,
    cubes_last: bool = False,
) -> Tensor:
    """Return vectors [B, D], or maps [B, D, h, w], of what a layer said of B = `num_views` views.

    That is a tensor, or several of which the first with a row for each view counts: [B, D] as it is;
    tokens [B, T, D] as their mean ("auto", "mean") or the first ("cls"); maps [B, D, h, w] as they are
    ("auto", "none") or as their mean. `sides` are the height and width of the views, any equal ones of
    square views: by them maps [B, h, w, D], whose channels stand last, are known, and turned. Of maps
    [B, D, D, D] of square views `cubes_last` says it (`find_cubes_last`). Raises `ModelError`, which
    calls the layer `what`, for anything else, and for maps that may be either.
    """
    fitting = _fitting(said, num_views)
    if not fitting or fitting[0].dim() > 4:
        raise ModelError(
            f"{what} says {_given(said)}; of {num_views} views it must be vectors [{num_views}, "
            f"numbers], tokens [{num_views}, tokens, numbers] or maps [{num_views}, channels, height, "
            "width]; choose another layer, in it or beside it"
        )
    found = fitting[0]
    if found.dim() == 4 and (
        cubes_last if _is_cube(found, sides) else _channels_last(found, sides, what)
    ):
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


def find_cubes_last(
    ask: Callable[[Tensor], tuple[Any, Mapping[str, Any]]], views: Tensor, what: str
) -> frozenset[str]:
    """Return the layers that say maps [B, D, D, D] of views, f32 [B, 3, S, S], and have channels last.

    `ask` returns an answer, and what layers say by name. Of views of twice the size D alone is as before.
    A warning, which calls the network `what`, names a layer of which that does not tell: its channels
    count as first, as a convolution's are.
    """
    count = len(views)
    _, said = ask(views)
    fitting = {layer: _fitting(one, count)[:1] for layer, one in said.items()}
    cubes = [n for n, parts in fitting.items() if parts and _is_cube(parts[0], views.shape[2:])]
    if not cubes:
        return frozenset()
    try:
        _, larger = ask(views.repeat(1, 1, 2, 2))
    except Exception:  # a network of one size refuses others in a way of its own
        larger = {}
    last = set()
    for layer in cubes:
        size = fitting[layer][0].shape[1]
        first, _, final = _sides_of_map(larger.get(layer), count)
        if (final == size) == (first == size):
            note_once(
                f"warning: layer {layer} of {what} says [{size}, {size}, {size}] of a view, and its "
                "channels are taken to be the first; give another --size if they are the last"
            )
        elif final == size:
            last.add(layer)
    return frozenset(last)


def _sides_of_map(said: Any, num_views: int) -> tuple[int, int, int]:
    maps = [part for part in _fitting(said, num_views)[:1] if part.dim() == 4]
    return maps[0].shape[1:] if maps else (0, 0, 0)  # type: ignore[return-value]


def _is_cube(found: Tensor, sides: Sequence[int]) -> bool:
    return found.dim() == 4 and len({*found.shape[1:]}) == 1 and sides[0] == sides[1]


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


def _fitting(said: Any, num_views: int) -> list[Tensor]:
    return [part for part in _tensors(said) if _has_rows(part, num_views)]


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
