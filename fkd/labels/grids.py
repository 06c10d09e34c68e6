"""What is said at the positions of a grid, as rows, and laid out again.

Every position has a label of its own, and whatever works on labels works on rows: position after position
of a view, view after view. `GridLabels` are such rows that know their grid.

Legend: B views, G positions of a grid, C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fkd.amounts import as_count
from fkd.config import Grid, grid_text, is_line, num_positions
from fkd.errors import SoftLabelError
from fkd.labels.rows import Rows, as_rows
from fkd.labels.soft import SoftLabels


def rows_of(said: Tensor) -> Tensor:
    """Return what is said at each position, [B, C, h, w] or of lines [B, T, C], as rows [B · G, C].

    Of whole views, [B, C], the rows are what is given.
    """
    if said.dim() == 2:
        return said
    if said.dim() == 3:
        return said.flatten(0, 1)
    return said.flatten(2).transpose(1, 2).reshape(-1, said.shape[1])


def laid_out(rows: Tensor, grid: Grid) -> Tensor:
    """Undo `rows_of`: rows [B · G, C] as [B, C, h, w], or [B, T, C] of a line.

    Raises `SoftLabelError` for a part of a grid.
    """
    if not grid:
        return rows
    count = num_positions(grid)
    if count < 1 or len(rows) % count:
        raise SoftLabelError(
            f"{len(rows):,} rows are no whole grids of {grid_text(grid)} positions"
        )
    num_views, num_classes = len(rows) // count, rows.shape[1]
    if is_line(grid):
        return rows.reshape(num_views, count, num_classes)
    by_view = rows.reshape(num_views, count, num_classes).transpose(1, 2)
    return by_view.reshape(num_views, num_classes, *grid)


@dataclass(eq=False)
class GridLabels:
    """Soft labels of B views, one at each position of a `grid`: (h, w) of maps, (T,) of lines.

    `flat` are those of B · G rows, position after position of a view. The batch is cut by view,
    `labels[:8]`, and moves between devices as a tensor does, by `to` and `pin_memory`. Raises
    `SoftLabelError` for rows that are no whole grids.
    """

    # Not frozen: trainers that move a batch field by field refuse a frozen dataclass.

    flat: SoftLabels
    grid: Grid

    def __post_init__(self) -> None:
        laid_out(self.flat.tail[:, None], self.grid)

    @property
    def num_classes(self) -> int | None:
        """C, or None where sparse labels do not say it."""
        return self.flat.num_classes

    @property
    def confidence(self) -> Tensor:
        """The largest probability at each position, f32 [B, *grid]."""
        return self.flat.confidence.reshape(-1, *self.grid)

    @property
    def top_class(self) -> Tensor:
        """The most likely class at each position, int64 [B, *grid]."""
        return self.flat.top_class.reshape(-1, *self.grid)

    def dense(self, num_classes: int | None = None) -> Tensor:
        """Return f32 [B, C, h, w], or [B, T, C] of lines.

        `num_classes` is needed where the labels do not say it.
        """
        return laid_out(self.flat.dense(num_classes), self.grid)

    def __len__(self) -> int:
        return len(self.flat) // num_positions(self.grid)

    def __getitem__(self, rows: Rows) -> "GridLabels":
        """Return the labels of some views: of a slice, of numbers int64 [b], or where bool [B] is true.

        A single number gives those of one view, B = 1. Raises `SoftLabelError` for anything else.
        """
        rows, count = as_rows(rows), num_positions(self.grid)

        def cut(part: Tensor) -> Tensor:
            return part.reshape(-1, count, *part.shape[1:])[rows].flatten(0, 1)

        return self._each(cut)

    def take(self, rows: Tensor) -> "GridLabels":
        """Return the labels of some views, int64 [b], in that order."""
        return self[rows]

    def __repr__(self) -> str:
        views = as_count(len(self), "view")
        return f"GridLabels({views} of {grid_text(self.grid)} positions, {self.flat._form()})"

    def to(self, device: torch.device | str | int, non_blocking: bool = False) -> "GridLabels":
        """Return the labels on a device."""
        return GridLabels(self.flat.to(device, non_blocking), self.grid)

    def pin_memory(self) -> "GridLabels":
        """Return the labels in page-locked memory, from which a GPU copies without waiting."""
        return GridLabels(self.flat.pin_memory(), self.grid)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "GridLabels":
        return GridLabels(self.flat._each(change), self.grid)

    @classmethod
    def concatenate(cls, parts: "Sequence[GridLabels]") -> "GridLabels":
        """Return several batches as one; raises `SoftLabelError` unless they are of one grid and form."""
        grids = {part.grid for part in parts}
        if len(grids) > 1:
            raise SoftLabelError(
                "labels of different grids cannot be joined: "
                + ", ".join(sorted(map(grid_text, grids)))
            )
        return cls(SoftLabels.concatenate([part.flat for part in parts]), parts[0].grid)


# The labels of a batch of views, whichever kind its store has.
Labels = SoftLabels | GridLabels
