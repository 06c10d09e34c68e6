"""Figures of images and crops: boxes in the image, and each crop as a student sees it with its label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.figures import COLOURS, GREY, INK, PAGE, bare, figure_style, fit, new_figure, write
from fkd.showing.crop_layout import GAP, INNER, arrange
from fkd.showing.mixed_crops import Mixing, OtherImage
from fkd.showing.picture import as_files

EDGE = 0.04  # inches left free around a figure, for frames are drawn half outside
HEAD = 0.2  # the line over a sample
_SIDE, _BARS, _LINE = 0.96, 1.22, 0.17  # of a gallery's cells
_MOST_HIGH = 1.3  # of the bars of a large crop
_OTHER_HIGH, _OTHER_HEAD, _OTHERS = (
    1.5,
    0.17,
    4,
)  # of images that are mixed in, and how many in a row
_TITLE, TINY = 8.5, 6.5  # points

Pixels = NDArray[np.uint8]  # [H, W, 3]


@dataclass(frozen=True)
class ShownMap:
    """The labels of a crop at the positions of a grid: the likeliest class of each, and its entropy.

    `classes` int64 [h, w]; `entropy` f32 [h, w], nats, None where no values are kept. `truth` uint8
    [H, W] are the classes of a mask at the crop's pixels, 255 for none, and None without masks.
    """

    classes: NDArray[np.int64]
    entropy: NDArray[np.float32] | None
    truth: NDArray[np.uint8] | None


@dataclass(frozen=True)
class ShownLine:
    """What the labels of a crop's frames read, and how sure they are: the mean of their largest values.

    `confidence` is None where no values are kept, and `written`, the text of the image, without texts.
    """

    said: str
    written: str | None
    confidence: float | None


@dataclass(frozen=True)
class ShownCrop:
    """One crop with the head of its label.

    `pixels` u8 [S, S, 3] as the student gets them; `box` is (top, left, height, width) in the image;
    `likely` are the most likely classes: (name, probability, whether it is that of an image in it). The
    probability is None where the store keeps none. `mixing` is None where nothing is mixed in. `maps` is
    a map of labels, and `line` a line of them, in the place of one label: then none are `likely`.
    """

    pixels: Pixels
    box: tuple[int, int, int, int]
    flip: bool
    likely: tuple[tuple[str, float | None, bool], ...]
    mixing: Mixing | None = None
    maps: ShownMap | None = None
    line: ShownLine | None = None


@figure_style()
def sample_figure(
    image: Pixels,
    crops: Sequence[ShownCrop],
    title: str,
    path: str,
    others: Sequence[OtherImage],
    formats: Sequence[str],
) -> dict[str, bytes]:
    """Draw an image with the boxes of its crops, and the crops around it; return the figure's files.

    The images that crops are mixed with stand below, with the boxes of what was mixed in.
    """
    height, width = image.shape[:2]
    layout = arrange(width / height, len(crops), bars=any(crop.likely for crop in crops))
    below = others_height(others)
    figure = new_figure(PAGE + 2 * EDGE, HEAD + layout.height + below + 2 * EDGE, constrained=False)
    draw_head(figure, title, path)
    axes = place_axes(figure, EDGE, HEAD + EDGE, *layout.image)
    axes.imshow(image, aspect="auto")
    bare(axes)
    for number, crop in enumerate(crops):
        point = width / (72 * layout.image[0])
        draw_box(axes, crop.box, colour_of(number), str(number + 1), point)
    for number, (crop, (left, top)) in enumerate(zip(crops, layout.cells, strict=True)):
        cell = Cell(left + EDGE, top + HEAD + EDGE, layout.side, layout.bars)
        _draw_crop(figure, cell, crop, colour_of(number), str(number + 1))
    draw_others(figure, others, HEAD + EDGE + layout.height)
    return as_files(figure, formats)


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


def draw_head(figure: Any, title: str, path: str) -> None:
    """Write the class on the left, and the path on the right of the same line."""
    axes = place_axes(figure, EDGE, EDGE, PAGE, HEAD)
    bare(axes)
    write(
        axes, 0, 1, fit(title, 0.5 * PAGE, _TITLE, "bold"), va="top", fontsize=_TITLE, weight="bold"
    )
    text = fit(path, 0.48 * PAGE, TINY)
    write(axes, 1, 1, text, ha="right", va="top", color=GREY, fontsize=TINY)


@figure_style()
def gallery_figure(
    crops: Sequence[ShownCrop], texts: Sequence[str], formats: Sequence[str]
) -> dict[str, bytes]:
    """Draw crops with their labels, three in a row, each with a line of text below; return its files."""
    pitch, width = _SIDE + _LINE + 0.12, _SIDE + INNER + _BARS
    rows, between = -(-len(crops) // 3), (PAGE - 3 * width) / 2
    figure = new_figure(PAGE + 2 * EDGE, pitch * rows - 0.12 + 2 * EDGE, constrained=False)
    for number, (crop, text) in enumerate(zip(crops, texts, strict=True)):
        left = EDGE + (number % 3) * (width + between)
        cell = Cell(left, EDGE + (number // 3) * pitch, _SIDE, _BARS)
        axes = _draw_crop(figure, cell, crop, GREY, "")
        write(
            axes, 0, -0.05, fit(text, width, TINY), transform=axes.transAxes, va="top", color=GREY,
            fontsize=TINY,
        )  # fmt: skip
    return as_files(figure, formats)


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


def draw_box(
    axes: Any, box: tuple[int, int, int, int], colour: str, text: str, point: float
) -> None:
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


def _draw_crop(figure: Any, cell: Cell, crop: ShownCrop, colour: str, number: str) -> Any:
    """Draw a crop and its label; return the axes of the crop."""
    axes = draw_pixels(figure, cell, crop, colour, number)
    if cell.bars:
        high = min(cell.side, _MOST_HIGH)
        bars = place_axes(figure, cell.left + cell.side + INNER, cell.top, cell.bars, high)
        _draw_bars(bars, crop.likely, colour, cell.bars - 0.28)
    return axes


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


def draw_hole(axes: Any, hole: tuple[int, int, int, int]) -> None:
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


def _draw_bars(
    axes: Any, likely: Sequence[tuple[str, float | None, bool]], colour: str, room: float
) -> None:
    """Draw the most likely classes as bars; names have `room` inches in them, the image's own is bold."""
    bare(axes)
    axes.set(xlim=(0, 1), ylim=(-4.5, 0.5))
    for rank, (name, probability, is_target) in enumerate(likely):
        weight, ink = ("bold", INK) if is_target else ("normal", "#3A3A3A")
        if probability is not None:
            axes.barh(-rank, 1, 0.78, color="#F1F3F5", linewidth=0)
            axes.barh(
                -rank,
                probability,
                0.78,
                color=colour,
                alpha=0.6 if is_target else 0.32,
                linewidth=0,
            )
            shown = f"{probability:.2f}" if probability >= 0.005 else "<.01"
            write(axes, 0.985, -rank, shown, ha="right", va="center", fontsize=TINY, color=ink)
        name = fit(name, room, TINY, weight)
        write(axes, 0.025, -rank, name, va="center", fontsize=TINY, weight=weight, color=ink)
    if likely and likely[0][1] is None:
        write(axes, 0.025, -1, "top-1 alone is kept", va="center", fontsize=TINY, color=GREY)
