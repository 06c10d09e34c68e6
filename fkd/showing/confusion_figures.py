"""The figure of the classes that the teacher takes for each other."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fkd.figures import (
    GREY,
    INK,
    PAGE,
    PALE,
    SECOND,
    figure_style,
    name_rows,
    new_figure,
    shorten,
    write,
)
from fkd.showing.picture import Picture, Table, as_files
from fkd.statistics import Confusion

_MOST_PAIRS = 15
_CELL = 0.17  # inches: a row of pairs, and a cell of the matrix at least


@figure_style()
def confusion_picture(
    confusion: Confusion, names: Sequence[str], formats: Sequence[str], *, mixed: bool = False
) -> Picture | None:
    """Draw the pairs of classes with most crops, and their classes as a matrix; None without any.

    Where views are `mixed`, none of these crops has the top-1 of its other image.
    """
    if not confusion.num_crops:
        return None
    shown = min(_MOST_PAIRS, len(confusion.crops))
    down = max(0.6 + _CELL * shown, 1.5 + _CELL * len(confusion.class_id))
    figure = new_figure(PAGE, down)
    pairs, matrix = figure.subplots(1, 2, width_ratios=(1, 1.35))
    _draw_pairs(pairs, confusion, names, shown)
    _draw_matrix(matrix, confusion, names)
    first = f"{names[confusion.target[0]]} taken for {names[confusion.top_class[0]]}"
    return Picture(
        "confusions",
        as_files(figure, formats),
        "Classes that the teacher confuses",
        f"Left: the {shown} pairs with most crops, of {confusion.num_pairs:,}, as the share of all crops "
        "of the folder's class. Right: the classes in the first pairs, in % of the crops of each row; "
        "grey is the folder's class itself"
        + (", or that of the other image in the view." if mixed else "."),
        f"List and matrix of pairs of classes; most crops: {first}, {confusion.crops[0]:,} crops.",
        Table(
            ("folder's class", "top-1", "crops", "of the class"),
            tuple(
                (names[target], names[top], f"{crops:,}", f"{share:.1%}")
                for target, top, crops, share in zip(
                    confusion.target,
                    confusion.top_class,
                    confusion.crops,
                    confusion.share,
                    strict=True,
                )
            ),
        ),
    )


def _draw_pairs(axes: Any, confusion: Confusion, names: Sequence[str], shown: int) -> None:
    """Draw a row for each pair, the number of its crops beside the mark."""
    rows = np.arange(shown)[::-1]
    share = 100 * confusion.share[:shown]
    most = max(float(share.max()), 1e-6) * 1.3
    axes.hlines(rows, 0, most, color=PALE, linewidth=0.6, zorder=0)
    axes.hlines(rows, 0, share, color=SECOND, linewidth=1.4)
    axes.plot(share, rows, "o", color=SECOND)
    for y, x, crops in zip(rows, share, confusion.crops, strict=False):
        write(axes, x + 0.04 * most, y, f"{crops:,}", va="center", color=GREY, fontsize=7)
    axes.set(
        xlim=(0, most), ylim=(-0.6, shown - 0.4), xlabel="% of the class's crops, and how many"
    )
    axes.spines["left"].set_visible(False)
    of = [(confusion.target[n], confusion.top_class[n]) for n in range(shown)]
    name_rows(
        axes, rows.tolist(), [f"{shorten(names[a], 17)} → {shorten(names[b], 17)}" for a, b in of]
    )


def _draw_matrix(axes: Any, confusion: Confusion, names: Sequence[str]) -> None:
    """Draw the crops of each class by what they are taken for, in % of its crops."""
    from matplotlib.colors import LinearSegmentedColormap

    k = len(confusion.class_id)
    others = confusion.matrix[:, k].any()
    counts = confusion.matrix if others else confusion.matrix[:, :k]
    share = 100 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    off = share.copy()
    np.fill_diagonal(off, 0)
    off[:, k:] = 0  # of many classes: what is not shown is no pair
    shades = LinearSegmentedColormap.from_list("shades", ["white", "#D55E00"])
    axes.imshow(off, cmap=shades, vmin=0, vmax=1.4 * max(off.max(), 1e-6), aspect="auto")
    for (i, j), value in np.ndenumerate(share):
        if i == j:
            axes.axvspan(j - 0.5, j + 0.5, 1 - (i + 1) / k, 1 - i / k, color=PALE, linewidth=0)
        if counts[i, j]:
            text = f"{value:.0f}" if value >= 0.95 else "<1"
            write(axes, j, i, text, ha="center", va="center", fontsize=6.5, color=INK)
    across = [names[n] for n in confusion.class_id] + (["another"] if others else [])
    axes.set(xticks=[], yticks=[], ylim=(k - 0.5, -0.5), xlim=(-0.5, counts.shape[1] - 0.5))
    axes.spines[:].set_visible(False)
    below = axes.get_xaxis_transform()
    for x, name in enumerate(across):
        write(
            axes, x, -0.02, shorten(name, 17), transform=below, rotation=90, ha="center", va="top"
        )
    name_rows(axes, list(range(k)), [shorten(names[n], 17) for n in confusion.class_id])
    write(
        axes,
        0.5,
        1.01,
        "top-1, by the folder's class",
        transform=axes.transAxes,
        ha="center",
        va="bottom",
    )
