"""The figure of how often the teacher agrees with the folders, by class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.figures import (
    GREY,
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
from fkd.showing.picture import Picture, Table, as_files
from fkd.statistics import ClassStatistics

_MOST_ROWS = 30  # classes that are named one by one


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
