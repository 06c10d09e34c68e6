"""The grid of positions that labels of a view are of.

A label of a whole view has the grid (). A map has (h, w), of which the view is divided into h rows of w
cells, each with a label of its own.
"""

import math

Grid = tuple[int, ...]

MAX_POSITIONS = 2**20  # of one view

IGNORED = 255  # of a mask: a pixel that counts for nothing


def num_positions(grid: Grid) -> int:
    """Return how many labels a view has: 1 where it has one of its own."""
    return math.prod(grid)


def grid_text(grid: Grid) -> str:
    """Return a grid as people read it: "33x33", and "" for a label of the whole view."""
    return "x".join(map(str, grid))
