"""Figures of images and crops: boxes in the image, and each crop as a student sees it with its label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.figures import COLOURS, GREY, INK, PAGE, figure_style, new_figure
from fkd.showing.drawing import bare, shorten, to_png, write

# Inches. A cell is a crop with its bars on the right, and a sample has two columns of them.
_SIDE, _BARS, _GAP, _LINE = 0.96, 1.22, 0.11, 0.17
_CELL = _SIDE + _BARS + 0.05
_LEFT = PAGE - 2 * (_CELL + _GAP)
_TITLE, _TINY = 8.0, 6.3  # points

Pixels = NDArray[np.uint8]  # [H, W, 3]


@dataclass(frozen=True)
class ShownCrop:
    """One crop with the head of its label.

    `pixels` u8 [S, S, 3] as the student gets them; `box` is (top, left, height, width) in the image;
    `likely` are the most likely classes: (name, probability, whether it is the image's own). The
    probability is None where the store keeps none.
    """

    pixels: Pixels
    box: tuple[int, int, int, int]
    flip: bool
    likely: tuple[tuple[str, float | None, bool], ...]


@figure_style()
def sample_figure(image: Pixels, crops: Sequence[ShownCrop], title: str, below: str) -> bytes:
    """Draw an image with the boxes of its crops, and the crops beside it; return a PNG."""
    height, width = image.shape[:2]
    rows = -(-len(crops) // 2)
    # A very long image is drawn narrower or lower than its place, never cut.
    scale = min(_LEFT / width, max(rows * (_SIDE + _GAP) - 2 * _LINE, _LEFT) / height)
    down = max(rows * (_SIDE + _GAP), scale * height + 2.6 * _LINE) + 0.06
    figure = new_figure(PAGE, down, constrained=False)
    axes = place_axes(figure, 0.03, _LINE + 0.03, scale * width, scale * height)
    axes.imshow(image, aspect="auto")
    bare(axes)
    for number, crop in enumerate(crops):
        _draw_box(axes, crop.box, _colour(number), number + 1, 1 / (72 * scale))
    where = axes.transAxes
    write(
        axes, 0, 1, shorten(title, 34), transform=where, va="bottom", fontsize=_TITLE, weight="bold"
    )
    under = -0.05 / (scale * height)
    write(axes, 0, under, shorten(below, 44), transform=where, va="top", color=GREY, fontsize=_TINY)
    for number, crop in enumerate(crops):
        left = _LEFT + _GAP + (number % 2) * (_CELL + _GAP)
        top = 0.04 + (number // 2) * (_SIDE + _GAP)
        _draw_crop(figure, left, top, crop, _colour(number), str(number + 1))
    return to_png(figure)


@figure_style()
def gallery_figure(crops: Sequence[ShownCrop], texts: Sequence[str]) -> bytes:
    """Draw crops with their labels, three in a row, each with a line of text below; return a PNG."""
    pitch = _SIDE + _LINE + 0.12
    figure = new_figure(PAGE, pitch * -(-len(crops) // 3) + 0.05, constrained=False)
    gap = (PAGE - 3 * _CELL) / 3
    for number, (crop, text) in enumerate(zip(crops, texts, strict=True)):
        left = 0.04 + (number % 3) * (_CELL + gap)
        top = 0.05 + (number // 3) * pitch
        axes = _draw_crop(figure, left, top, crop, GREY, "")
        write(
            axes, 0, -0.05, shorten(text, 46), transform=axes.transAxes, va="top", color=GREY,
            fontsize=_TINY,
        )  # fmt: skip
    return to_png(figure)


def place_axes(figure: Any, left: float, top: float, width: float, height: float) -> Any:
    """Add axes at a place in inches from the figure's upper left corner."""
    across, down = figure.get_size_inches()
    place = (left / across, 1 - (top + height) / down, width / across, height / down)
    return figure.add_axes(place)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _draw_box(
    axes: Any, box: tuple[int, int, int, int], colour: str, number: int, point: float
) -> None:
    """Draw a box and its number into an image; a `point` is so many of its pixels."""
    from matplotlib.patches import Rectangle

    top, left, height, width = box
    # The line runs inside the box, or that of a whole image would be cut in half.
    corner, sides = (left - 0.5 + point, top - 0.5 + point), (width - 2 * point, height - 2 * point)
    for line, edge in ((2.8, "white"), (1.6, colour)):
        axes.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=edge, linewidth=line))
    badge = {"boxstyle": "square,pad=0.18", "facecolor": colour, "edgecolor": "none"}
    write(
        axes, corner[0] + 2.2 * point, corner[1] + 1.8 * point, str(number), va="top", color="white",
        weight="bold", fontsize=_TINY, bbox=badge,
    )  # fmt: skip


def _draw_crop(
    figure: Any, left: float, top: float, crop: ShownCrop, colour: str, number: str
) -> Any:
    """Draw one cell, its upper left corner at a place in inches; return the axes of the crop."""
    axes = place_axes(figure, left, top, _SIDE, _SIDE)
    axes.imshow(crop.pixels)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=colour, linewidth=1.8)
    badge = {"boxstyle": "square,pad=0.18", "facecolor": colour, "edgecolor": "none"}
    corner = " ".join(part for part in (number, "↔" if crop.flip else "") if part)
    if corner:
        write(
            axes, 0.045, 0.955, corner, transform=axes.transAxes, va="top", color="white",
            weight="bold", fontsize=_TINY, bbox=badge,
        )  # fmt: skip
    _draw_bars(place_axes(figure, left + _SIDE + 0.07, top, _BARS, _SIDE), crop.likely, colour)
    return axes


def _draw_bars(axes: Any, likely: Sequence[tuple[str, float | None, bool]], colour: str) -> None:
    """Draw the most likely classes as bars with their names in them; the image's own is bold."""
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
            write(axes, 0.985, -rank, shown, ha="right", va="center", fontsize=_TINY, color=ink)
        name = shorten(name, 15 if is_target else 17)
        write(axes, 0.025, -rank, name, va="center", fontsize=_TINY, weight=weight, color=ink)
    if likely and likely[0][1] is None:
        write(axes, 0.025, -1, "top-1 alone is kept", va="center", fontsize=_TINY, color=GREY)
