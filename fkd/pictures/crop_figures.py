"""Figures of images and crops: boxes in the image, and each crop as a student sees it with its label."""

from collections.abc import Sequence
from typing import Any

from fkd.figures import GREY, INK, PAGE, bare, figure_style, fit, new_figure, write
from fkd.pictures.crop_layout import INNER, arrange
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

_SIDE, _BARS, _LINE = 0.96, 1.22, 0.17  # of a gallery's cells
_MOST_HIGH = 1.3  # of the bars of a large crop


@figure_style()
def sample_figure(shown: ShownImage, formats: Sequence[str]) -> dict[str, bytes]:
    """Draw an image with the boxes of its crops, and the crops around it; return the figure's files.

    The images that crops are mixed with stand below, with the boxes of what was mixed in.
    """
    crops, (height, width) = shown.crops, shown.pixels.shape[:2]
    layout = arrange(width / height, len(crops), bars=any(crop.likely for crop in crops))
    below = others_height(shown.others)
    figure = new_figure(PAGE + 2 * EDGE, HEAD + layout.height + below + 2 * EDGE, constrained=False)
    draw_head(figure, shown.title, shown.path)
    axes = place_axes(figure, EDGE, HEAD + EDGE, *layout.image)
    axes.imshow(shown.pixels, aspect="auto")
    bare(axes)
    for number, crop in enumerate(crops):
        point = width / (72 * layout.image[0])
        draw_box(axes, crop.box, colour_of(number), str(number + 1), point)
    for number, (crop, (left, top)) in enumerate(zip(crops, layout.cells, strict=True)):
        cell = Cell(left + EDGE, top + HEAD + EDGE, layout.side, layout.bars)
        _draw_crop(figure, cell, crop, colour_of(number), str(number + 1))
    draw_others(figure, shown.others, HEAD + EDGE + layout.height)
    return as_files(figure, formats)


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


def _draw_crop(figure: Any, cell: Cell, crop: ShownCrop, colour: str, number: str) -> Any:
    """Draw a crop and its label; return the axes of the crop."""
    axes = draw_pixels(figure, cell, crop, colour, number)
    if cell.bars:
        high = min(cell.side, _MOST_HIGH)
        bars = place_axes(figure, cell.left + cell.side + INNER, cell.top, cell.bars, high)
        _draw_bars(bars, crop.likely, colour, cell.bars - 0.28)
    return axes


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
