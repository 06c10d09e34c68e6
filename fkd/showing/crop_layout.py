"""Where an image and its crops stand in a figure: large enough to see, and no part of it left empty.

All lengths are inches, from the upper left corner. A cell is a crop with the bars of its label beside it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fkd.figures import PAGE

GAP, INNER = 0.11, 0.07  # between cells, and inside one
_BARS, _MOST_BARS = 1.05, 2.2
_SMALLEST, _LARGEST, _WANTED = 0.8, 2.0, 0.95  # the side of a crop
_ENOUGH, _PLENTY = 3.0, 10.0  # square inches of the image
_COLUMNS = 3  # of cells, where they run below the image too


@dataclass(frozen=True)
class SampleLayout:
    """The image at (0, 0) with `image` (width, height), and `cells` at (left, top).

    `side` is that of each crop, `bars` the width of the bars beside it, `height` that of all.
    """

    image: tuple[float, float]
    side: float
    bars: float
    cells: tuple[tuple[float, float], ...]
    height: float

    @property
    def cell(self) -> float:
        """The width of a cell."""
        return self.side + INNER + self.bars

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


def arrange(aspect: float, num_crops: int) -> SampleLayout:
    """Return the best layout of an image, `aspect` times as wide as it is high, and its crops."""
    layouts = [*_beside(aspect, num_crops), *_around(aspect, num_crops)]
    return max(layouts, key=lambda layout: layout.worth)


def _beside(aspect: float, num_crops: int) -> Iterator[SampleLayout]:
    """Yield layouts with all cells on the image's right, in columns as high as the image."""
    for columns in range(1, min(num_crops, 3) + 1):
        rows = -(-num_crops // columns)
        # The side with which image and columns together are as wide as the page.
        room = PAGE - aspect * (rows - 1) * GAP - columns * (GAP + INNER + _BARS)
        side = min(max(room / (aspect * rows + columns), _SMALLEST), _LARGEST)
        high = rows * (side + GAP) - GAP
        width = min(aspect * high, PAGE - columns * (GAP + side + INNER + _BARS))
        bars = min((PAGE - width) / columns - GAP - side - INNER, _MOST_BARS)
        pitch = GAP + side + INNER + bars
        cells = tuple(
            (width + GAP + (n % columns) * pitch, (n // columns) * (side + GAP))
            for n in range(num_crops)
        )
        yield SampleLayout((width, width / aspect), side, bars, cells, max(high, width / aspect))


def _around(aspect: float, num_crops: int) -> Iterator[SampleLayout]:
    """Yield layouts in a grid: the image takes its upper left, cells stand beside and below it."""
    pitch = (PAGE + GAP) / _COLUMNS
    for taken in range(1, _COLUMNS + 1):
        width = taken * pitch - GAP
        high = width / aspect
        for rows in range(1, 8):
            side = (high + GAP) / rows - GAP if taken < _COLUMNS else _WANTED
            if not _SMALLEST <= side <= pitch - GAP - INNER - _BARS or high > 1.2 * PAGE:
                continue
            free = [(column, row) for row in range(rows) for column in range(taken, _COLUMNS)]
            first = rows if taken < _COLUMNS else 0
            below = [(n % _COLUMNS, first + n // _COLUMNS) for n in range(num_crops)]
            under = 0.0 if taken < _COLUMNS else high + GAP
            places = [*free, *below][:num_crops]
            cells = tuple((c * pitch, under + r * (side + GAP)) for c, r in places)
            end = max(high, *(top + side for _, top in cells))
            yield SampleLayout((width, high), side, pitch - GAP - side - INNER, cells, end)
