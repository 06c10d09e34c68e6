"""Figures of what maps and lines say, class by class: where it is named and, with truth, how rightly."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.amounts import as_count
from fkd.config import BLANK, grid_text, is_line, size_text
from fkd.figures import (
    GREY,
    INK,
    MAIN,
    PAGE,
    PALE,
    figure_style,
    name_rows,
    new_figure,
    shorten,
    write,
)
from fkd.images import visible_name
from fkd.pictures import Picture, Table, as_files, class_colours
from fkd.showing.page import Section
from fkd.statistics import LabelStatistics, LineStatistics, PositionStatistics, TruthStatistics
from fkd.store import LabelStore

_MOST_ROWS, _MOST_CLASSES = 30, 12  # that are named one by one, and that stand in a matrix
_MOST_PAIRS = 15  # of characters that are taken for each other


def position_section(
    store: LabelStore, statistics: LabelStatistics, names: Sequence[str], formats: Sequence[str]
) -> Section | None:
    """Return which classes maps and lines name where; None where labels are one a crop."""
    if statistics.positions is None:
        return None
    grid = grid_text(statistics.positions.grid)
    return Section(
        "Which classes are where",
        f"The teacher's likeliest class at each of {grid} {_places(statistics.positions)} of the first "
        f"{statistics.crops_per_image} of {store.spec.num_crops} crops of each of "
        f"{as_count(statistics.num_images, 'image')}.",
        pictures=(_position_picture(statistics.positions, names, formats),),
    )


def _places(positions: PositionStatistics) -> str:
    return "frames" if is_line(positions.grid) else "positions"


def line_section(store: LabelStore, read: LineStatistics) -> Section:
    """Return how often lines read what their texts say, and which characters are wrong."""
    rows = [(named(written), named(said), f"{count:,}") for (said, written), count in read.confused]
    return Section(
        "Is the teacher right?",
        f"The first {as_count(read.crops_per_image, 'crop')} of {as_count(read.num_images, 'image')} "
        f"against their texts, read by the likeliest class of each frame: {read}. Texts are compared as "
        "they are written, with case and spaces. A crop may miss a letter at the edge of its line. "
        + ("The characters that differ most often:" if rows else ""),
        table=Table(("in the text", "is read as", "times"), tuple(rows[:_MOST_PAIRS]))
        if rows
        else None,
    )


def named(character: str) -> str:
    """Return a character as a table shows it: white space has a name, and "" is nothing."""
    if not character:
        return "(nothing)"
    return visible_name(character)


def truth_section(
    store: LabelStore, truth: TruthStatistics | None, names: Sequence[str], formats: Sequence[str]
) -> Section | None:
    """Return how often the teacher is right; None where no masks say so."""
    picture = None if truth is None else _truth_picture(truth, names, formats)
    if truth is None or picture is None:
        return None
    return Section(
        "Is the teacher right?",
        f"The first {as_count(truth.crops_per_image, 'crop')} of {as_count(truth.num_images, 'image')} "
        f"against their masks, at the {size_text(store.spec.size)} pixels that a student sees: {truth}. "
        "Labels are resized to these. Edges are finer than the labels' grid, so less than 100 % is no "
        "fault.",
        pictures=(picture,),
    )


@figure_style()
def _position_picture(
    positions: PositionStatistics, names: Sequence[str], formats: Sequence[str]
) -> Picture:
    """Draw the share of positions of each class: of all of them, or of those with most."""
    every = np.argsort(-positions.share, kind="stable")
    line = is_line(positions.grid)
    # Most frames are the blank, beside which no bar of a character could be seen.
    order = every[positions.class_id[every] != BLANK] if line and len(every) > 1 else every
    shown = order[:_MOST_ROWS]
    figure = new_figure(PAGE, 0.55 + 0.17 * max(4, len(shown)))
    axes, rows = figure.subplots(), np.arange(len(shown))[::-1]
    share, classes = 100 * positions.share[shown], positions.class_id[shown]
    axes.barh(rows, share, 0.72, color=MAIN if line else class_colours(classes), linewidth=0)
    axes.set(xlim=(0, 1.45 * share.max()), ylim=(-0.6, len(shown) - 0.4))
    axes.set(xlabel=f"share of {_places(positions)}, %")
    axes.spines["left"].set_visible(False)
    name_rows(axes, rows.tolist(), [shorten(names[n], 24) for n in classes])
    sure = positions.top_probability
    for row, place, width in zip(rows.tolist(), shown.tolist(), share.tolist(), strict=True):
        text = f" {width:.1f} %, in {positions.crops[place]:.0%} of crops"
        text += "" if sure is None else f", {sure[place]:.2f} sure"
        write(axes, width, row, text, va="center", color=GREY)
    what = (
        f", the {len(shown)} with most of {len(order):,} classes" if len(shown) < len(order) else ""
    )
    blank = positions.share[positions.class_id == BLANK].sum()
    about = f"The blank, at {blank:.1%} of them, is not drawn." if len(order) < len(every) else ""
    about = about if line else "Colours are those of the maps."
    return Picture(
        "positions",
        as_files(figure, formats),
        "Where classes are named",
        f"Share of all {_places(positions)} whose likeliest class it is{what}. {about}".rstrip(),
        f"Bars of {as_count(len(shown), 'class')}: {names[classes[0]]} at {share[0]:.1f} % of "
        f"{_places(positions)}.",
        _position_table(positions, names, every),
    )


def _position_table(
    positions: PositionStatistics, names: Sequence[str], order: NDArray[np.int64]
) -> Table:
    columns: tuple[str, ...] = ("class", f"share of {_places(positions)}", "share of crops")
    sure = positions.top_probability
    columns += () if sure is None else ("mean top probability there",)
    rows = tuple(
        (
            names[positions.class_id[n]],
            f"{positions.share[n]:.2%}",
            f"{positions.crops[n]:.1%}",
            *(() if sure is None else (f"{sure[n]:.3f}",)),
        )
        for n in order.tolist()
    )
    return Table(columns, rows)


@figure_style()
def _truth_picture(
    truth: TruthStatistics, names: Sequence[str], formats: Sequence[str]
) -> Picture | None:
    """Draw the IoU of each class, and which are taken for which; None where masks have no class."""
    counts, iou = truth.confusion.counts.numpy(), truth.confusion.iou.numpy()
    known = np.flatnonzero(~np.isnan(iou))
    if not len(known):
        return None
    lowest = known[np.argsort(iou[known], kind="stable")]
    shown, often = lowest[:_MOST_ROWS], _most_frequent(counts)
    figure = new_figure(PAGE, 0.75 + 0.2 * max(8, len(shown), len(often)))
    bars, matrix = figure.subplots(1, 2, width_ratios=(2, 3))
    _draw_iou(bars, shown, iou, names, truth.confusion.miou)
    _draw_matrix(matrix, often, counts, names)
    all_of = len(shown) == len(lowest)
    which = "" if all_of else f", the {len(shown)} lowest of {len(lowest):,} classes"
    return Picture(
        "truth",
        as_files(figure, formats),
        "Against the masks",
        f"Intersection over union by class{which}; the mean of all is {truth.confusion.miou:.3f}. On the "
        "right a row is a class of the masks, and a column one that the teacher names: of the pixels of "
        "the row, the % that are named so.",
        f"Bars of {as_count(len(shown), 'class')}, from {iou[lowest[0]]:.2f} to {iou[lowest[-1]]:.2f}.",
        _truth_table(lowest, counts, iou, names),
    )


def _most_frequent(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the classes with most pixels in the masks, in their own order."""
    pixels = counts.sum(axis=1)
    order = np.argsort(-pixels, kind="stable")[:_MOST_CLASSES]
    return np.sort(order[pixels[order] > 0])


def _draw_iou(
    axes: Any,
    shown: NDArray[np.int64],
    iou: NDArray[np.float64],
    names: Sequence[str],
    mean: float,
) -> None:
    rows = np.arange(len(shown))[::-1]
    axes.hlines(rows, 0, 1, color=PALE, linewidth=0.6, zorder=0)
    axes.barh(rows, iou[shown], 0.72, color=class_colours(shown), linewidth=0)
    above = axes.get_xaxis_transform()
    axes.plot([mean] * 2, [0, 1], transform=above, color=INK, linewidth=0.8)
    write(axes, mean, 1.01, f"mean {mean:.2f}", transform=above, ha="center", va="bottom")
    axes.set(xlim=(0, 1), ylim=(-0.6, len(shown) - 0.4), xlabel="intersection over union")
    axes.spines["left"].set_visible(False)
    name_rows(axes, rows.tolist(), [shorten(names[n], 18) for n in shown])


def _draw_matrix(
    axes: Any, classes: NDArray[np.int64], counts: NDArray[np.int64], names: Sequence[str]
) -> None:
    """Draw the shares of each class's pixels, truth by row; what is none of these is left out."""
    part = counts[np.ix_(classes, classes)] / np.maximum(1, counts[classes].sum(axis=1))[:, None]
    axes.imshow(part, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(part):
        if share >= 0.005:
            ink = "white" if share > 0.5 else INK
            text = f"{100 * share:.0f}"
            write(axes, column, row, text, ha="center", va="center", color=ink, fontsize=6.5)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    shorter = [shorten(names[n], 14) for n in classes]
    name_rows(axes, list(range(len(classes))), shorter)
    for column, name in enumerate(shorter):
        write(
            axes, column, len(classes) - 0.4, name, rotation=90, ha="center", va="top",
            fontsize=6.5, color=MAIN,
        )  # fmt: skip
    write(
        axes, 0.5, 1.01, "rows: class of the mask, columns: the teacher's, in % of a row",
        transform=axes.transAxes, ha="center", va="bottom",
    )  # fmt: skip


def _truth_table(
    order: NDArray[np.int64],
    counts: NDArray[np.int64],
    iou: NDArray[np.float64],
    names: Sequence[str],
) -> Table:
    pixels, said, total = counts.sum(axis=1), counts.sum(axis=0), max(1, int(counts.sum()))
    rows = tuple(
        (
            names[n],
            f"{iou[n]:.3f}",
            f"{pixels[n] / total:.2%}",
            f"{counts[n, n] / pixels[n]:.1%}" if pixels[n] else "",
            f"{counts[n, n] / said[n]:.1%}" if said[n] else "",
        )
        for n in order.tolist()
    )
    columns = ("class", "IoU", "share of the masks' pixels", "found of these", "right where named")
    return Table(columns, rows)
