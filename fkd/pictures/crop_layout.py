"""Where an image and its crops stand in a figure: large enough to see, and no part of it left empty.

All lengths are inches, from the upper left corner. A cell is a crop with the bars of its label beside it,
or a crop alone where there are no labels.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fkd.figures import PAGE

GAP, INNER = 0.11, 0.07  # between cells, and inside one
_SMALLEST, _WANTED = 0.8, 0.95  # the side of a crop
_ENOUGH, _PLENTY = 3.0, 10.0  # square inches of the image


@dataclass(frozen=True)
class _Cells:
    """What cells may be: the most in a row, the largest crop, and how wide the bars beside it may be."""

    columns: int
    largest: float
    bars: float = 0.0
    most_bars: float = 0.0

    @property
    def beside(self) -> float:
        """The least room on the right of a crop."""
        return INNER + self.bars if self.bars else 0.0

    def bars_in(self, width: float, side: float) -> float:
        """Return how wide bars are in a cell with so much room, which has a crop of this side."""
        return width - side - INNER if self.bars else 0.0


_LABELLED, _BARE = _Cells(3, 2.0, 1.05, 2.2), _Cells(6, 3.4)


@dataclass(frozen=True)
class SampleLayout:
    """The image at (0, 0) with `image` (width, height), and `cells` at (left, top).

    `side` is that of each crop, `bars` the width of the bars beside it, 0 where there are none, and
    `height` that of all.
    """

    image: tuple[float, float]
    side: float
    bars: float
    cells: tuple[tuple[float, float], ...]
    height: float

    @property
    def cell(self) -> float:
        """The width of a cell."""
        return self.side + (INNER + self.bars if self.bars else 0)

    @property
    def filled(self) -> float:
        """The share of the figure that image and cells cover."""
        width, height = self.image
        cells = len(self.cells) * self.cell * self.side
        return (width * height + cells) / (PAGE * self.height)

    @property
    def worth(self) -> float:
        """How good it is: little is empty, and crops and image are neither small nor huge."""
        area = self.image[0] * self.image[1]
        odd_side = abs(math.log(self.side / _WANTED))
        odd_area = math.log(max(1.0, _ENOUGH / area, area / _PLENTY))
        return self.filled - 0.25 * odd_side - 0.2 * odd_area


def arrange(aspect: float, num_crops: int, *, bars: bool = True) -> SampleLayout:
    """Return the best layout of an image, `aspect` times as wide as it is high, and its crops.

    Without `bars` a cell is as wide as its crop.
    """
    cells = _LABELLED if bars else _BARE
    layouts = [*_beside(aspect, num_crops, cells), *_around(aspect, num_crops, cells)]
    return max(layouts, key=lambda layout: layout.worth)


def _beside(aspect: float, num_crops: int, cells: _Cells) -> Iterator[SampleLayout]:
    """Yield layouts with all cells on the image's right, in columns as high as the image."""
    for columns in range(1, min(num_crops, cells.columns) + 1):
        rows = -(-num_crops // columns)
        # The side with which image and columns together are as wide as the page.
        room = PAGE - aspect * (rows - 1) * GAP - columns * (GAP + cells.beside)
        side = min(max(room / (aspect * rows + columns), _SMALLEST), cells.largest)
        high = rows * (side + GAP) - GAP
        width = min(aspect * high, PAGE - columns * (GAP + side + cells.beside))
        bars = min(cells.bars_in((PAGE - width) / columns - GAP, side), cells.most_bars)
        pitch = GAP + side + (INNER + bars if bars else 0)
        places = tuple(
            (width + GAP + (n % columns) * pitch, (n // columns) * (side + GAP))
            for n in range(num_crops)
        )
        yield SampleLayout((width, width / aspect), side, bars, places, max(high, width / aspect))


def _around(aspect: float, num_crops: int, cells: _Cells) -> Iterator[SampleLayout]:
    """Yield layouts in a grid: the image takes its upper left, cells stand beside and below it."""
    columns = cells.columns
    pitch = (PAGE + GAP) / columns
    for taken in range(1, columns + 1):
        width = taken * pitch - GAP
        high = width / aspect
        for rows in range(1, 8):
            side = (high + GAP) / rows - GAP if taken < columns else _WANTED
            if not _SMALLEST <= side <= pitch - GAP - cells.beside or high > 1.2 * PAGE:
                continue
            free = [(column, row) for row in range(rows) for column in range(taken, columns)]
            first = rows if taken < columns else 0
            below = [(n % columns, first + n // columns) for n in range(num_crops)]
            under = 0.0 if taken < columns else high + GAP
            places = [*free, *below][:num_crops]
            at = tuple((c * pitch, under + r * (side + GAP)) for c, r in places)
            end = max(high, *(top + side for _, top in at))
            bars = cells.bars_in(pitch - GAP, side)
            yield SampleLayout((width, high), side, bars, at, end)
