"""Figures of maps of labels: crops, and below them what is where, and how unsure the teacher is of it."""

import colorsys
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.config import IGNORED
from fkd.figures import GREY, PAGE, bare, figure_style, fit, new_figure, write
from fkd.pictures.crop_layout import GAP
from fkd.pictures.figure_parts import (
    EDGE,
    HEAD,
    TINY,
    Cell,
    colour_of,
    draw_box,
    draw_head,
    draw_others,
    draw_pixels,
    others_height,
    place_axes,
)
from fkd.pictures.picture import as_files
from fkd.pictures.shown import ShownCrop, ShownImage

_COLUMNS, _LARGEST = 6, 1.62  # crops beside each other, and the side of one that has room
_NAME, _BETWEEN, _TEXT = 0.17, 0.05, 0.17  # the name of a row, between rows, a line below a crop
_IMAGE_HIGH = 1.9
_LINE, _ENTRY = 0.15, 1.35  # of a legend: the height and the width of an entry

_GOLDEN = (math.sqrt(5) - 1) / 2
_SHADES = ((0.78, 0.85), (0.42, 0.96), (0.9, 0.55))  # saturation and value
_NO_CLASS = (0.9, 0.9, 0.9)


def class_colours(classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the colour of each class, f64 [n, 3] in [0, 1]: the same in every figure of any store."""
    found = []
    for number in classes.tolist():
        saturation, value = _SHADES[number % len(_SHADES)]
        found.append(colorsys.hsv_to_rgb((0.58 + number * _GOLDEN) % 1, saturation, value))
    return np.array(found).reshape(-1, 3)


@figure_style()
def map_sample_figure(
    shown: ShownImage, names: Sequence[str], formats: Sequence[str]
) -> dict[str, bytes]:
    """Draw an image with the boxes of its crops, and below it the crops with their maps of labels.

    The images that crops are mixed with stand at the end.
    """
    crops, (height, width) = shown.crops, shown.pixels.shape[:2]
    high = min(_IMAGE_HIGH, 0.6 * PAGE * height / width)
    wide, columns = high * width / height, _Columns(crops, len(names))
    top = HEAD + EDGE
    end = top + high + GAP + columns.height
    figure = new_figure(
        PAGE + 2 * EDGE, end + others_height(shown.others) + EDGE, constrained=False
    )
    draw_head(figure, shown.title, shown.path)
    axes = place_axes(figure, EDGE, top, wide, high)
    axes.imshow(shown.pixels, aspect="auto")
    bare(axes)
    for number, crop in enumerate(crops):
        draw_box(axes, crop.box, colour_of(number), str(number + 1), width / (72 * wide))
    _draw_legend(figure, _Legend(crops, PAGE - wide - GAP, high), names, EDGE + wide + GAP, top)
    columns.draw(figure, top + high + GAP)
    draw_others(figure, shown.others, end)
    return as_files(figure, formats)


@figure_style()
def map_gallery_figure(
    crops: Sequence[ShownCrop], texts: Sequence[str], names: Sequence[str], formats: Sequence[str]
) -> dict[str, bytes]:
    """Draw crops with their maps of labels, each with a line of text below; return the figure's files."""
    columns, legend = _Columns(crops, len(names), texts), _Legend(crops, PAGE, 3 * _LINE)
    figure = new_figure(
        PAGE + 2 * EDGE, legend.height + GAP + columns.height + 2 * EDGE, constrained=False
    )
    _draw_legend(figure, legend, names, EDGE, EDGE)
    columns.draw(figure, EDGE + legend.height + GAP)
    return as_files(figure, formats)


class _Columns:
    """Crops beside each other, with what is said of each below it, in bands as wide as the page."""

    def __init__(
        self, crops: Sequence[ShownCrop], num_classes: int, texts: Sequence[str] = ()
    ) -> None:
        """Take crops with maps of so many classes; they are numbered where they have no `texts`."""
        self._crops, self._texts = crops, texts
        self._most = max(math.log(num_classes), 1e-6)
        self._count = min(len(crops), _COLUMNS)
        room = PAGE - _NAME - (self._count - 1) * GAP
        self._side = min(room / self._count, _LARGEST)
        one = crops[0].maps
        assert one is not None
        self._rows = ["crop", *(["mask"] * (one.truth is not None)), "teacher"]
        self._rows += ["entropy"] * (one.entropy is not None)

    @property
    def _band(self) -> float:
        text = _TEXT if self._texts else 0.0
        return len(self._rows) * (self._side + _BETWEEN) - _BETWEEN + text

    @property
    def height(self) -> float:
        """Inches of all bands."""
        bands = -(-len(self._crops) // self._count)
        return bands * (self._band + GAP) - GAP

    def draw(self, figure: Any, top: float) -> None:
        """Draw all crops, so many inches below the figure's upper edge."""
        for number, crop in enumerate(self._crops):
            band, column = divmod(number, self._count)
            left = EDGE + _NAME + column * (self._side + GAP)
            upper = top + band * (self._band + GAP)
            if not column:
                self._name_rows(figure, upper)
            for row, name in enumerate(self._rows):
                cell = Cell(left, upper + row * (self._side + _BETWEEN), self._side, 0.0)
                self._draw(figure, cell, name, crop, number)

    def _draw(self, figure: Any, cell: Cell, row: str, crop: ShownCrop, number: int) -> None:
        """Draw one row of a crop."""
        numbered = not self._texts
        if row == "crop":
            colour = colour_of(number) if numbered else GREY
            draw_pixels(figure, cell, crop, colour, str(number + 1) if numbered else "")
            return
        axes = place_axes(figure, cell.left, cell.top, cell.side, cell.side)
        height, width = crop.pixels.shape[:2]
        how: dict[str, Any] = {"extent": (0, width, height, 0), "interpolation": "nearest"}
        maps = crop.maps
        assert maps is not None
        if row == "entropy":
            axes.imshow(maps.entropy, cmap="magma", vmin=0, vmax=self._most, **how)
        else:
            said = maps.classes if row == "teacher" else maps.truth
            assert said is not None
            axes.imshow(_coloured(said, ignored=row == "mask"), **how)
        bare(axes)
        if row == self._rows[-1] and self._texts:
            text = fit(self._texts[number], cell.side, TINY)
            look = {"va": "top", "color": GREY, "fontsize": TINY}
            write(axes, 0, -0.04, text, transform=axes.transAxes, **look)

    def _name_rows(self, figure: Any, top: float) -> None:
        for row, name in enumerate(self._rows):
            upper = top + row * (self._side + _BETWEEN)
            axes = place_axes(figure, EDGE, upper, _NAME, self._side)
            bare(axes)
            look = {"rotation": 90, "ha": "left", "va": "center", "fontsize": TINY, "color": GREY}
            write(axes, 0, 0.5, name, **look)


def _coloured(classes: NDArray[Any], *, ignored: bool) -> NDArray[np.float64]:
    """Return classes [h, w] as colours, f64 [h, w, 3]; what is `ignored` in a mask has that of none."""
    known, place = np.unique(classes, return_inverse=True)
    colours = class_colours(known.astype(np.int64))
    if ignored:
        colours[known == IGNORED] = _NO_CLASS
    return colours[place.reshape(classes.shape)]


@dataclass(frozen=True)
class _Legend:
    """The classes that crops have at most positions, as far as there is room: `width` · `most` inches."""

    crops: Sequence[ShownCrop]
    width: float
    most: float

    @property
    def columns(self) -> int:
        """Entries beside each other."""
        return max(1, int(self.width / _ENTRY))

    @property
    def height(self) -> float:
        """Inches that are taken."""
        return -(-len(self.entries) // self.columns) * _LINE

    @property
    def entries(self) -> list[int | None]:
        """The classes, the one at most positions first; None at the end stands for more."""
        found: Counter[int] = Counter()
        for crop in self.crops:
            assert crop.maps is not None
            found.update(crop.maps.classes.reshape(-1).tolist())
        ordered: list[int | None] = [number for number, _ in found.most_common()]
        room = self.columns * max(1, int(self.most / _LINE))
        return ordered if len(ordered) <= room else [*ordered[: room - 1], None]


def _draw_legend(
    figure: Any, legend: _Legend, names: Sequence[str], left: float, top: float
) -> None:
    """Draw a patch of the colour of each class, with its name."""
    from matplotlib.patches import Rectangle

    entries, columns = legend.entries, legend.columns
    width = legend.width / columns
    for number, entry in enumerate(entries):
        row, column = divmod(number, columns)
        axes = place_axes(figure, left + column * width, top + row * _LINE, width, _LINE)
        bare(axes)
        axes.set(xlim=(0, width), ylim=(0, _LINE))
        text = "… and more"
        if entry is not None:
            (colour,) = class_colours(np.array([entry]))
            axes.add_patch(Rectangle((0, 0.02), 0.11, 0.11, facecolor=colour))
            text = fit(names[entry], width - 0.2, TINY)
        write(axes, 0.15, 0.5 * _LINE, text, va="center", fontsize=TINY)
