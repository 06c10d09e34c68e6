"""The figure of how the label depends on how much of its image a crop is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.figures import COLUMN, MAIN, PAGE, SECOND, figure_style, new_figure
from fkd.pictures import Picture, Table, as_files
from fkd.statistics import AreaStatistics

_HEIGHT = 2.4


@figure_style()
def area_picture(area: AreaStatistics, formats: Sequence[str]) -> Picture | None:
    """Draw top probability and agreement by the crop's share of its image.

    The former is known of soft labels, the latter where images have classes; None without either.
    """
    at = 50 * (area.edges[1:] + area.edges[:-1])
    soft, agreement = area.mean is not None, area.agreement
    curves = soft + (agreement is not None)
    if not curves:
        return None
    figure = new_figure(PAGE if curves == 2 else COLUMN, _HEIGHT)
    places = figure.subplots(1, curves, squeeze=False)[0]
    if area.mean is not None and area.quantiles is not None:
        _draw_probability(places[0], at, 100 * area.mean, 100 * area.quantiles)
    if agreement is not None:
        places[-1].plot(at, 100 * agreement, "o-", color=MAIN, markersize=3)
        places[-1].set(ylabel="top-1 is the class, % of crops")
    for axes in places:
        axes.set(xlim=(100 * area.edges[0] - 1, 100 * area.edges[-1] + 1), ylim=(0, 102))
        axes.set(xlabel="area of the crop, % of the image")
        axes.grid(axis="y")
    first, last = np.flatnonzero(area.crops)[[0, -1]]
    return Picture(
        "area",
        as_files(figure, formats),
        "By the crop's area",
        _words(area, int(first), int(last)),
        "Curve of the top probability by the crop's area."
        if agreement is None
        else "Curves by the crop's area: top-1 is the class of "
        f"{agreement[first]:.1%} of the smallest crops, {agreement[last]:.1%} of the largest.",
        _area_table(area),
    )


def _words(area: AreaStatistics, first: int, last: int) -> str:
    """Say what small crops and large ones have, as it was measured."""
    small, large = (f"{area.edges[n]:.1%} to {area.edges[n + 1]:.1%}" for n in (first, last))
    said = []
    if area.mean is not None:
        said.append(f"the mean top probability is {area.mean[first]:.3f} and {area.mean[last]:.3f}")
    if area.agreement is not None:
        right = area.agreement[[first, last]]
        said.append(f"top-1 is the class of {right[0]:.1%} and {right[1]:.1%} of them")
    return f"Of crops of {small} of their images, and of {large}, {', and '.join(said)}."


def _draw_probability(
    axes: Any, at: NDArray[np.float64], mean: NDArray[np.float64], quantiles: NDArray[np.float64]
) -> None:
    low, lower, median, upper, high = quantiles
    axes.fill_between(at, low, high, color=MAIN, alpha=0.14, linewidth=0, label="5–95 % of crops")
    axes.fill_between(
        at, lower, upper, color=MAIN, alpha=0.24, linewidth=0, label="25–75 % of crops"
    )
    axes.plot(at, median, color=MAIN, label="median")
    axes.plot(at, mean, "o-", color=SECOND, markersize=3, label="mean")
    axes.set(ylabel="top probability, %")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)


def _area_table(area: AreaStatistics) -> Table:
    columns: tuple[str, ...] = ("area of the image", "crops")
    if area.agreement is not None:
        columns += ("top-1 is the class",)
    if area.quantiles is not None:
        columns += ("mean top probability", "5 % of crops below", "median", "95 % of crops below")
    rows: list[tuple[str, ...]] = []
    for n in np.flatnonzero(area.crops).tolist():
        row: tuple[str, ...] = (
            f"{area.edges[n]:.1%} – {area.edges[n + 1]:.1%}",
            f"{area.crops[n]:,}",
        )
        if area.agreement is not None:
            row += (f"{area.agreement[n]:.1%}",)
        if area.mean is not None and area.quantiles is not None:
            quantiles = area.quantiles[[0, 2, 4], n]
            row += tuple(f"{value:.3f}" for value in (area.mean[n], *quantiles))
        rows.append(row)
    return Table(columns, tuple(rows))
