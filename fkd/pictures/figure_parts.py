"""Parts of figures of crops: where they stand, in inches, and what is drawn around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fkd.figures import COLOURS, GREY, INK, PAGE, bare, fit, write
from fkd.pictures.crop_layout import GAP
from fkd.pictures.shown import Box, OtherImage, ShownCrop

EDGE = 0.04  # inches left free around a figure, for frames are drawn half outside
HEAD = 0.2  # the line over a sample
_OTHER_HIGH, _OTHER_HEAD = 1.5, 0.17  # of images that are mixed in
_OTHERS = 4  # of them in a row, at most
_TITLE, TINY = 8.5, 6.5  # points


@dataclass(frozen=True)
class Cell:
    """Where a crop and its bars, if any, stand in a figure, in inches from the upper left corner."""

    left: float
    top: float
    side: float
    bars: float


def place_axes(figure: Any, left: float, top: float, width: float, height: float) -> Any:
    """Add axes at a place in inches from the figure's upper left corner."""
    across, down = figure.get_size_inches()
    place = (left / across, 1 - (top + height) / down, width / across, height / down)
    return figure.add_axes(place)


def colour_of(number: int) -> str:
    """Return the colour of a crop by its number in a figure, from 0."""
    return COLOURS[number % len(COLOURS)]


def draw_box(axes: Any, box: Box, colour: str, text: str, point: float) -> None:
    """Draw a box and its number into an image; a `point` is so many of its pixels.

    Without a number it is a thin line, which hides little of letters.
    """
    from matplotlib.patches import Rectangle

    top, left, height, width = box
    # The line runs inside the box, or that of a whole image would be cut in half.
    inside = point if text else 0.4 * point
    corner = (left - 0.5 + inside, top - 0.5 + inside)
    sides = (width - 2 * inside, height - 2 * inside)
    for line, edge in ((2.8, "white"), (1.6, colour)) if text else ((0.8, colour),):
        axes.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=edge, linewidth=line))
    if not text:
        return
    badge = {"boxstyle": "square,pad=0.18", "facecolor": colour, "edgecolor": "none"}
    write(
        axes, corner[0] + 2.2 * point, corner[1] + 1.8 * point, text, va="top", color="white",
        weight="bold", fontsize=TINY, bbox=badge,
    )  # fmt: skip


def draw_head(figure: Any, title: str, path: str) -> None:
    """Write the class on the left, and the path on the right of the same line."""
    axes = place_axes(figure, EDGE, EDGE, PAGE, HEAD)
    bare(axes)
    write(
        axes, 0, 1, fit(title, 0.5 * PAGE, _TITLE, "bold"), va="top", fontsize=_TITLE, weight="bold"
    )
    text = fit(path, 0.48 * PAGE, TINY)
    write(axes, 1, 1, text, ha="right", va="top", color=GREY, fontsize=TINY)


def draw_pixels(figure: Any, cell: Cell, crop: ShownCrop, colour: str, number: str) -> Any:
    """Draw a crop in a frame, with its number and what was done to it; return its axes."""
    axes = place_axes(figure, cell.left, cell.top, cell.side, cell.side)
    axes.imshow(crop.pixels)
    axes.set(xticks=[], yticks=[], anchor="NW")
    axes.spines[:].set(visible=True, color=colour, linewidth=1.8)
    badge = {"boxstyle": "square,pad=0.18", "facecolor": colour, "edgecolor": "none"}
    share = ""
    if crop.mixing is not None:
        share = f"{crop.mixing.own_share:.0%}"
        draw_hole(axes, crop.mixing.hole)
    corner = " ".join(part for part in (number, "↔" if crop.flip else "", share) if part)
    if corner:
        write(
            axes, 0.045, 0.955, corner, transform=axes.transAxes, va="top", color="white",
            weight="bold", fontsize=TINY, bbox=badge,
        )  # fmt: skip
    return axes


def draw_hole(axes: Any, hole: Box) -> None:
    """Draw the edge of what was cut out of a crop, if anything was: rows and columns of its pixels."""
    from matplotlib.patches import Rectangle

    top, bottom, left, right = hole
    if top < bottom and left < right:
        for line, edge, style in ((1.0, "white", "-"), (1.0, INK, "--")):
            corner, sides = (left - 0.5, top - 0.5), (right - left, bottom - top)
            axes.add_patch(
                Rectangle(
                    corner, *sides, fill=False, edgecolor=edge, linewidth=line, linestyle=style
                )
            )


def others_height(others: Sequence[OtherImage]) -> float:
    """Return the inches that images take which crops are mixed with."""
    return -(-len(others) // _OTHERS) * (GAP + _OTHER_HEAD + _OTHER_HIGH)


def draw_others(figure: Any, others: Sequence[OtherImage], top: float) -> None:
    """Draw images that crops are mixed with, in rows, so many inches below the figure's upper edge."""
    for number, other in enumerate(others):
        across = PAGE / max(2, min(len(others), _OTHERS))
        row = GAP + (number // _OTHERS) * (GAP + _OTHER_HEAD + _OTHER_HIGH)
        _draw_other(figure, other, EDGE + (number % _OTHERS) * across, top + row, across - GAP)


def _draw_other(figure: Any, other: OtherImage, left: float, top: float, across: float) -> None:
    """Draw an image that crops are mixed with, its class over it, in a place `across` inches wide."""
    height, width = other.pixels.shape[:2]
    wide = min(across, _OTHER_HIGH * width / height)
    head = place_axes(figure, left, top, across, _OTHER_HEAD)
    bare(head)
    said = f"+ {other.title or other.path}"
    write(head, 0, 1, fit(said, across, TINY, "bold"), va="top", fontsize=TINY, weight="bold")
    axes = place_axes(figure, left, top + _OTHER_HEAD, wide, wide * height / width)
    axes.imshow(other.pixels, aspect="auto")
    bare(axes)
    for number, box, flip in other.boxes:
        text = f"{number + 1} ↔" if flip else str(number + 1)
        draw_box(axes, box, colour_of(number), text, width / (72 * wide))
