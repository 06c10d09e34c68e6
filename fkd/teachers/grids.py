"""On which grid labels are kept, and how a teacher's finer map comes to it.

Legend: n views, C classes, G positions of a teacher's grid.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from fkd.config import Grid, grid_text, grid_words, grids_words, is_line, sides_of, size_text
from fkd.errors import ModelError
from fkd.labels import laid_out, rows_of
from fkd.teachers.teacher import Teacher

# What a teacher says of a view, by the sides of its grid.
_KINDS = ("one label a view", "a line of labels", "a map of labels")

# What to do where teachers have two grids: of maps, and of lines.
_ALIKE = (
    "give a --map-stride that both can have",
    "their frames are not the same places; label a store with each",
)


def kept_grid(teachers: Sequence[Teacher], wanted: Grid | int | None) -> Grid:
    """Return the grid that labels of these teachers are kept on: their own, or a coarser one.

    What is `wanted` is the grid of a store, or a stride: so many pixels of a view, in height and in
    width, to a cell. Raises `ModelError` for a finer grid than a teacher's, and for teachers of different
    kinds or grids. Lines are never coarser: a mean over frames would run characters together.
    """
    if isinstance(wanted, tuple):
        _require(teachers, wanted)
        return wanted
    return _own(teachers) if wanted is None else _of_stride(teachers, wanted)


def _own(teachers: Sequence[Teacher]) -> Grid:
    """Return the grid that all teachers have."""
    _refuse_two_kinds(teachers)
    first = teachers[0]
    for other in teachers:
        if other.grid != first.grid:
            raise ModelError(
                f"teacher {first.name} says {grid_text(first.grid)} labels and {other.name} "
                f"{grid_text(other.grid)}; {_ALIKE[is_line(first.grid)]}"
            )
    return first.grid


def _of_stride(teachers: Sequence[Teacher], map_stride: int) -> Grid:
    """Return the grid with a cell for so many pixels of a view."""
    _refuse_two_kinds(teachers)
    first = teachers[0]
    if not first.grid or is_line(first.grid):
        raise ModelError(
            f"--map-stride {map_stride} is of maps, and teacher {first.name} says "
            f"{grids_words(first.grid)}; leave it out"
        )
    seen = sides_of(first.preprocessing.size)
    wanted = tuple(-(-side // map_stride) for side in seen)
    for teacher in teachers:
        if any(has < side for has, side in zip(teacher.grid, wanted, strict=True)):
            least = max(-(-side // has) for side, has in zip(seen, teacher.grid, strict=True))
            raise ModelError(
                f"--map-stride {map_stride} asks for {grid_text(wanted)} labels of views of "
                f"{size_text(seen)} px, and teacher {teacher.name} says "
                f"{grid_text(teacher.grid)}; choose {least} or more, or leave "
                "it out"
            )
    return wanted


def _refuse_two_kinds(teachers: Sequence[Teacher]) -> None:
    """Raise `ModelError` where teachers say maps, lines and one label a view, more than one of these."""
    first = teachers[0]
    for other in teachers[1:]:
        if len(other.grid) != len(first.grid):
            one, more = (first, other) if len(first.grid) > len(other.grid) else (other, first)
            raise ModelError(
                f"teacher {one.name} says {_KINDS[len(one.grid)]}, and {more.name} "
                f"{_KINDS[len(more.grid)]}: they have no mean; label a store with each"
            )


def _require(teachers: Sequence[Teacher], wanted: Grid) -> None:
    """Raise `ModelError` for a teacher whose labels cannot be brought to a store's grid."""
    in_store = grids_words(wanted)
    for teacher in teachers:
        has = teacher.grid
        if len(has) != len(wanted) or (is_line(has) and has != wanted):
            says = grid_words(has) if has else "one label a view"
            raise ModelError(
                f"teacher {teacher.name} says {says}, and the store keeps {in_store}; name a teacher of "
                "its kind"
            )
        if any(own < kept for own, kept in zip(has, wanted, strict=True)):
            raise ModelError(
                f"teacher {teacher.name} says {grid_words(has)}, and the store keeps "
                f"{in_store}, which are finer; name a teacher with as many"
            )


def on_kept_grid(probs: Tensor, own: Grid, kept: Grid) -> Tensor:
    """Return probabilities, f32 [n · G, C], as means over the positions of each kept cell."""
    if own == kept:
        return probs
    maps: Tensor = functional.adaptive_avg_pool2d(laid_out(probs, own), kept)  # type: ignore[arg-type]
    return rows_of(maps)
