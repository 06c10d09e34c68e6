"""Figures of how often the teacher names the folders' classes, and which it takes for each other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.amounts import as_count
from fkd.figures import (
    GREY,
    INK,
    MAIN,
    PAGE,
    PALE,
    SECOND,
    figure_style,
    name_rows,
    new_figure,
    shorten,
    write,
)
from fkd.pictures import Picture, Table, as_files
from fkd.statistics import ClassStatistics, Confusion

_MOST_ROWS = 30  # classes that are named one by one
_MOST_PAIRS = 15
_CELL = 0.17  # inches: a row of pairs, and a cell of the matrix at least


@figure_style()
def class_picture(
    classes: ClassStatistics,
    names: Sequence[str],
    agreement: float,
    formats: Sequence[str],
    *,
    mixed: bool = False,
) -> Picture:
    """Draw the share of crops whose top-1 is the image's class, by class: all of them, or the lowest.

    Of views that are `mixed` it is the class of either image.
    """
    right = "a class of the view" if mixed else "the image's class"
    named = "top-1 is a class in it" if mixed else "top-1 is the class"
    order = np.argsort(classes.agreement, kind="stable")
    shown = order[:_MOST_ROWS]
    figure = new_figure(PAGE, 0.75 + 0.17 * max(4, len(shown)))
    many = len(order) > len(shown)
    if many:
        soft = classes.top_probability is not None
        places = figure.subplot_mosaic("sr;cr" if soft else "sr", width_ratios=(2, 3))
        _spread_of_classes(places["s"], classes.agreement, named)
        if soft:
            _sure_and_right(places["c"], classes, named)
    axes = places["r"] if many else figure.subplots()
    _rows_of_classes(axes, classes, names, shown, agreement)
    what = f"the {len(shown)} lowest of {len(order):,} classes" if many else "by class"
    return Picture(
        "classes",
        as_files(figure, formats),
        "Agreement with the folders' classes" if mixed else "Agreement with the folder's class",
        f"Share of crops whose top-1 is {right}, {what}; in all {agreement:.1%}. Where the "
        "open mark, the mean top probability, lies to the right, the teacher is surer than it is right."
        + (" On the left all classes." if many else ""),
        f"Share of crops whose top-1 is {right}, {what}.",
        _class_table(classes, names, order, named),
    )


def _rows_of_classes(
    axes: Any,
    classes: ClassStatistics,
    names: Sequence[str],
    shown: NDArray[np.int64],
    agreement: float,
) -> None:
    """Draw a row for each class: a filled mark for agreement, an open one for the top probability."""
    rows = np.arange(len(shown))[::-1]
    right = 100 * classes.agreement[shown]
    axes.set(xlim=(-1, 101), ylim=(-0.6, len(shown) - 0.4))
    axes.hlines(rows, 0, 100, color=PALE, linewidth=0.6, zorder=0)
    above = axes.get_xaxis_transform()
    axes.plot([100 * agreement] * 2, [0, 1], transform=above, color=GREY, linewidth=0.7)
    top = classes.top_probability
    if top is not None:
        axes.hlines(rows, right, 100 * top[shown], color=GREY, linewidth=0.8, zorder=1)
        axes.plot(
            100 * top[shown], rows, "o", markerfacecolor="white",
            markeredgecolor=SECOND, markeredgewidth=1.1, label="mean top probability",
        )  # fmt: skip
    axes.plot(right, rows, "o", markersize=4.5, color=MAIN)
    axes.set_xlabel(
        "% of crops (filled), mean top probability in % (open)" if top is not None else "% of crops"
    )
    axes.spines["left"].set_visible(False)
    name_rows(axes, rows.tolist(), [shorten(names[n], 24) for n in classes.class_id[shown]])
    write(axes, 100 * agreement, 1.01, "all", transform=above, ha="center", va="bottom", color=GREY)


def _spread_of_classes(axes: Any, agreement: NDArray[np.float64], named: str) -> None:
    """Draw all classes from the lowest to the highest agreement."""
    axes.plot(np.arange(1, len(agreement) + 1), 100 * np.sort(agreement), color=MAIN)
    axes.set(ylim=(0, 102), xlim=(1, len(agreement)))
    axes.set(xlabel="classes, lowest first", ylabel=f"{named}, % of crops")


def _sure_and_right(axes: Any, classes: ClassStatistics, named: str) -> None:
    """Draw a point for each class: how sure the teacher is of its crops, and how often it names it."""
    assert classes.top_probability is not None
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.7)
    axes.plot(
        100 * classes.top_probability, 100 * classes.agreement, "o", markersize=2, alpha=0.5,
        markeredgewidth=0, color=MAIN,
    )  # fmt: skip
    lowest = max(0.0, 100 * min(classes.top_probability.min(), classes.agreement.min()) - 3)
    axes.set(xlim=(lowest, 101), ylim=(lowest, 101))
    axes.set(xlabel="mean top probability, %", ylabel=f"{named}, % of crops")


def _class_table(
    classes: ClassStatistics, names: Sequence[str], order: NDArray[np.int64], named: str
) -> Table:
    columns: tuple[str, ...] = ("class", "crops", named)
    soft = classes.top_probability is not None and classes.entropy is not None
    if soft:
        columns += ("mean top probability", "mean entropy, nats")
    rows: list[tuple[str, ...]] = []
    for n in order.tolist():
        row: tuple[str, ...] = (
            names[classes.class_id[n]],
            f"{classes.crops[n]:,}",
            f"{classes.agreement[n]:.1%}",
        )
        if classes.top_probability is not None and classes.entropy is not None:
            row += (f"{classes.top_probability[n]:.3f}", f"{classes.entropy[n]:.3f}")
        rows.append(row)
    return Table(columns, tuple(rows))


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
        f"List and matrix of pairs of classes; most crops: {first}, "
        f"{as_count(int(confusion.crops[0]), 'crop')}.",
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
