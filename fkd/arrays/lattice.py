"""The order in which the cells of a map are taken, and the neighbours that each has by then.

Steps go from a cell in a corner over ever finer lattices to all cells. Those of a step have four
neighbours in earlier ones, or two, on both sides: what they say in the mean is a good guess of a cell,
and a step is worked out at once.

Legend: h × w cells of X views, s cells of a step in all views, P planes of numbers.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fkd.config import Grid

Places = NDArray[np.intp]  # rows or columns of a grid
Sums = NDArray[np.int16]
T = TypeVar("T", bound=np.generic)  # of numbers

NEIGHBOURS = 4  # of a sum; where there are two, each counts twice


@dataclass(frozen=True)
class Step:
    """Cells of a grid, all rows × all columns, and as many neighbours of each, at the same places."""

    rows: Places
    columns: Places
    near: tuple[tuple[Places, Places], ...]

    def take(self, planes: NDArray[T]) -> NDArray[T]:
        """Return the step's cells of planes [P, h, w, X], [P, s]."""
        return _take(planes, self.rows, self.columns)

    def put(self, planes: NDArray[T], values: NDArray[T]) -> None:
        """Set the step's cells of planes [P, h, w, X] to values [P, s]."""
        shape = len(planes), len(self.rows), len(self.columns), planes.shape[3]
        planes[:, self.rows[:, None], self.columns] = values.reshape(shape)

    def sums(self, planes: NDArray[np.uint8]) -> Sums:
        """Return four times the mean of the cells' neighbours, int16 [P, s]; 0 where there are none."""
        if not self.near:
            return np.zeros(self.take(planes).shape, np.int16)
        total: Sums = _take(planes, *self.near[0]).astype(np.int16)
        for rows, columns in self.near[1:]:
            np.add(total, _take(planes, rows, columns), out=total)
        total *= np.int16(NEIGHBOURS // len(self.near))
        return total


def _take(planes: NDArray[T], rows: Places, columns: Places) -> NDArray[T]:
    return planes[:, rows[:, None], columns].reshape(len(planes), -1)


@lru_cache(maxsize=16)
def steps(grid: Grid) -> tuple[Step, ...]:
    """Return the steps of a grid (h, w), in which each of its cells is once.

    A lattice of a spacing gets cells in the middle of its squares, then on the sides of these. Where a
    neighbour would be outside, the opposite one counts twice.
    """
    height, width = grid
    found = [Step(np.zeros(1, np.intp), np.zeros(1, np.intp), ())]
    half = 1
    while 2 * half < max(height, width):
        half *= 2
    while half:
        tall, wide = half < height, half < width
        upright = [(-half, 0), (half, 0)] if tall else []
        level = [(0, -half), (0, half)] if wide else []
        corners = [(r, c) for r in (-half, half) for c in (-half, half)]
        if tall and wide:
            found.append(_step(grid, half, (half, half), corners))
        if wide:
            found.append(_step(grid, half, (0, half), upright + level))
        if tall:
            found.append(_step(grid, half, (half, 0), upright + level))
        half //= 2
    return tuple(found)


def _step(grid: Grid, half: int, first: tuple[int, int], near: list[tuple[int, int]]) -> Step:
    """Return the cells at every second multiple of a half spacing from the first on."""
    rows, columns = (np.arange(f, side, 2 * half) for f, side in zip(first, grid, strict=True))

    def beside(places: Places, offset: int, side: int) -> Places:
        there = places + offset
        return np.where((there < 0) | (there >= side), places - offset, there)

    at = [(beside(rows, r, grid[0]), beside(columns, c, grid[1])) for r, c in near]
    return Step(rows, columns, tuple(at))
