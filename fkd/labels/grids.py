"""What is said at the positions of a grid, as rows, and laid out again.

Every position has a label of its own, and whatever works on labels works on rows: position after position
of a view, view after view.

Legend: B views, G positions of a grid, C classes.
"""

from torch import Tensor

from fkd.config import Grid, grid_text, num_positions
from fkd.errors import SoftLabelError


def rows_of(said: Tensor) -> Tensor:
    """Return what is said at each position, [B, C, *grid], as rows [B · G, C].

    Of whole views, [B, C], the rows are what is given.
    """
    if said.dim() == 2:
        return said
    return said.flatten(2).transpose(1, 2).reshape(-1, said.shape[1])


def laid_out(rows: Tensor, grid: Grid) -> Tensor:
    """Undo `rows_of`: rows [B · G, C] as [B, C, *grid]; raises `SoftLabelError` for a part of a grid."""
    if not grid:
        return rows
    count = num_positions(grid)
    if len(rows) % count:
        raise SoftLabelError(
            f"{len(rows):,} rows are no whole grids of {grid_text(grid)} positions"
        )
    num_views, num_classes = len(rows) // count, rows.shape[1]
    by_view = rows.reshape(num_views, count, num_classes).transpose(1, 2)
    return by_view.reshape(num_views, num_classes, *grid)
