"""The plot of a table: the mean of each row, its spread and each seed."""

from pathlib import Path
from statistics import mean
from typing import Any

from outcomes import Row

from fkd.figures import MAIN, PAGE, SECOND, figure_style, new_figure


@figure_style()
def plot(table: str, rows: list[Row], path: Path) -> None:
    """Draw the mean of each row, its spread, and each seed as a dot."""
    is_by_number = table in ("crops an image", "stored crops")
    figure = new_figure(PAGE, 3.0 if is_by_number else 0.3 * len(rows) + 0.5)
    axes = figure.subplots()
    if is_by_number:
        by_number(axes, rows)
    else:
        by_name(axes, rows)
    axes.grid()
    figure.savefig(path)


def by_number(axes: Any, rows: list[Row]) -> None:
    """Draw accuracy over the number in the rows' names: `m = 4`, and `m = 4, in one batch` apart."""
    kinds = list(dict.fromkeys(row.name.partition(", ")[2] for row in rows))
    ticks = sorted({number_of(row) for row in rows})
    for kind, color in zip(kinds, (MAIN, SECOND), strict=False):
        some = [row for row in rows if row.name.partition(", ")[2] == kind]
        numbers = [number_of(row) for row in some]
        axes.errorbar(
            numbers, [mean(r.top1) for r in some], [r.spread for r in some],
            marker="o", capsize=3, color=color, label=kind or "in several batches",
        )  # fmt: skip
        for number, row in zip(numbers, some, strict=True):
            axes.plot([number] * len(row.top1), row.top1, ".", color=color, alpha=0.4)
    if len(kinds) > 1:
        axes.legend()
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.set_xticks([], minor=True)
    axes.set(xlabel=rows[0].name.split(" ")[0], ylabel="top-1, %")


def number_of(row: Row) -> int:
    """Return 4 of `m = 4, in one batch`."""
    return int(row.name.split(", ")[0].split("=")[1])


def by_name(axes: Any, rows: list[Row]) -> None:
    """Draw one line for each row, with its name beside it."""
    places = range(len(rows))
    axes.errorbar(
        [mean(r.top1) for r in rows], places, xerr=[r.spread for r in rows],
        fmt="o", capsize=3, color=MAIN,
    )  # fmt: skip
    for place, row in zip(places, rows, strict=True):
        axes.plot(row.top1, [place] * len(row.top1), ".", color=MAIN, alpha=0.4)
    axes.set_yticks(list(places), [row.name for row in rows])
    axes.invert_yaxis()
    axes.set(xlabel="top-1, %")
