"""Figures of label statistics, each in the size of a paper's column, with the numbers that it shows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fkd.figures import (
    COLOURS,
    COLUMN,
    INK,
    MAIN,
    PAGE,
    SECOND,
    bare,
    figure_style,
    new_figure,
    write,
)
from fkd.pictures import Picture, Table, as_files
from fkd.statistics import Certainty, Divergences, Histogram, KeptMass

_HEIGHT = 2.2
_BINS = 40


def certainty_pictures(
    certainty: Certainty, formats: Sequence[str], of: str = "crops"
) -> list[Picture]:
    """Draw how sure the teacher is: top probability, entropy, mass by K; `of` says what is counted."""
    top, nats = certainty.top_probability, certainty.entropy
    return [
        Picture(
            "top-probability",
            _histogram(top, "probability of the top class", "{:.2f}", formats, of=of),
            "Top probability",
            f"How sure the teacher is of the class that it names, over {of}.",
            f"Histogram of the top probability: mean {top.mean:.3f}, median {top.quantile(0.5):.3f}.",
            _bins_table(top, "top probability", "{:.3f}", 20, of),
        ),
        Picture(
            "entropy",
            _histogram(nats, "entropy of the label, nats", "{:.2f}", formats, of=of),
            "Entropy",
            f"0 is one class for certain, {nats.high:.2f} nats all classes alike. Classes that the store "
            "does not keep share their probability evenly.",
            f"Histogram of the entropy: mean {nats.mean:.3f} nats, median {nats.quantile(0.5):.3f}.",
            _bins_table(nats, "entropy, nats", "{:.3f}", 20, of),
        ),
        _kept_picture(certainty.kept_mass, formats, of),
    ]


def divergence_picture(
    divergences: Divergences, formats: Sequence[str], of: str = "crops"
) -> Picture:
    """Draw the cross-entropy of each crop between two teachers; `of` says what is counted."""
    crossed = divergences.crossed
    name = "cross-entropy H(this, other), nats"
    return Picture(
        "against",
        _histogram(crossed, name, "{:.2f}", formats, within=0.99, of=of),
        "Cross-entropy between the teachers",
        f"Of each {of.removesuffix('s')}, in nats; the axis ends where 99 % of the {of} do.",
        f"Histogram of the cross-entropy of {of}: mean {divergences.cross_entropy:.3f} nats.",
        Table(
            (f"nats, mean over {of}", "value"),
            (
                ("H(this, other)", f"{divergences.cross_entropy:.4f}"),
                ("H(other, this)", f"{divergences.reverse_cross_entropy:.4f}"),
                ("entropy of this", f"{divergences.entropy:.4f}"),
                ("entropy of the other", f"{divergences.other_entropy:.4f}"),
                ("KL(this ‖ other)", f"{divergences.kl:.4f}"),
                ("KL(other ‖ this)", f"{divergences.reverse_kl:.4f}"),
            ),
        ),
    )


@figure_style()
def _histogram(
    values: Histogram,
    xlabel: str,
    form: str,
    formats: Sequence[str],
    *,
    within: float = 1.0,
    of: str = "crops",
) -> dict[str, bytes]:
    """Draw shares of crops in bins, and say where their mean and median are."""
    figure = new_figure(COLUMN, _HEIGHT)
    axes = figure.subplots()
    high = values.high if within == 1 else max(values.quantile(within), values.high / 100)
    edges, shares = values.shares(_BINS if within == 1 else 250)
    shown = edges[:-1] < high
    width, left = edges[1] - edges[0], edges[:-1][shown]
    heights = 100 * shares[shown]
    axes.bar(left, heights, width, align="edge", color=MAIN, alpha=0.8, linewidth=0)
    axes.set(xlim=(values.low, high), ylim=(0, max(1e-9, heights.max()) * 1.04))
    axes.set(xlabel=xlabel, ylabel=f"share of {of}, %")
    marks = (("mean", values.mean, SECOND), ("median", values.quantile(0.5), INK))
    _mark_two(axes, sorted(marks, key=lambda mark: mark[1]), form, (values.low, high))
    return as_files(figure, formats)


def _mark_two(
    axes: Any, marks: Sequence[tuple[str, float, str]], form: str, ends: tuple[float, float]
) -> None:
    """Draw a line at each of two numbers, with their names above it on the sides where there is room."""
    above = axes.get_xaxis_transform()
    (_, first, _), (_, second, _) = marks
    low, span = ends[0], ends[1] - ends[0]
    sides = ["right", "left"]
    if first - low < 0.3 * span:
        sides[0] = "left"  # one name above the other where both lie at the same end
    if ends[1] - second < 0.3 * span:
        sides[1] = "right"
    crowded = sides[0] == sides[1] and second - first < 0.35 * span
    lower = 1 if sides[0] == "left" else 0
    for number, ((name, x, colour), side) in enumerate(zip(marks, sides, strict=True)):
        y = 1.12 if crowded and number != lower else 1.02
        axes.plot(
            [x, x], [0, y + 0.06], transform=above, color=colour, linewidth=0.9, clip_on=False
        )
        text = f" {name} {form.format(x)} "
        write(axes, x, y, text, transform=above, color=colour, ha=side, va="bottom")


def _bins_table(values: Histogram, name: str, form: str, bins: int, of: str) -> Table:
    edges, shares = values.shares(bins)
    rows = [
        (f"{form.format(edges[n])} – {form.format(edges[n + 1])}", f"{shares[n]:.2%}")
        for n in range(bins)
    ]
    known = [("mean", values.mean)]
    known += [(f"{share:.0%} quantile", values.quantile(share)) for share in (0.05, 0.5, 0.95)]
    return Table(
        (name, f"share of {of}"),
        (*((what, form.format(value)) for what, value in known), *rows),
    )


@figure_style()
def _kept_picture(kept: KeptMass, formats: Sequence[str], of: str) -> Picture:
    ranks = np.arange(1, len(kept.mean) + 1)
    figure = new_figure(COLUMN, _HEIGHT)
    axes = figure.subplots()
    band = axes.fill_between(
        ranks, 100 * kept.low, 100 * kept.high, color=MAIN, alpha=0.18, linewidth=0
    )
    band.set_label(f"5–95 % of {of}")
    axes.plot(ranks, 100 * kept.mean, color=MAIN, marker="o", markersize=3, label="mean")
    axes.set(xlim=(0.7, len(ranks) + 0.3), ylim=(0, 104), yticks=[0, 25, 50, 75, 100])
    step = 1 if len(ranks) <= 10 else 2 if len(ranks) <= 20 else 5
    axes.set_xticks(ranks[step - 1 :: step] if step > 1 else ranks)
    axes.set(xlabel="classes kept, K", ylabel="probability kept, %")
    axes.legend(loc="lower right")
    return Picture(
        "kept-mass",
        as_files(figure, formats),
        "Kept mass by K",
        "Probability that the K most likely classes hold together: mean, and the band of 5 to 95 % of "
        f"{of}.",
        "Curve of the probability kept by K classes: "
        + ", ".join(f"K = {k}: {kept.mean[k - 1]:.1%}" for k in (1, 5, 10) if k <= len(ranks)),
        Table(
            ("K", "mean", f"5 % of {of} below", f"95 % of {of} below"),
            tuple(
                (str(k), f"{mean:.2%}", f"{low:.2%}", f"{high:.2%}")
                for k, mean, low, high in zip(ranks, kept.mean, kept.low, kept.high, strict=True)
            ),
        ),
    )


@figure_style()
def size_picture(parts: dict[str, float], num_crops: int, formats: Sequence[str]) -> Picture:
    """Draw the bytes of a crop by part, as one bar; `parts` is from `fkd.statistics.bytes_per_crop`."""
    total = parts["total"]
    sizes = [(name, size) for name, size in parts.items() if name != "total" and size > 0]
    figure = new_figure(PAGE, 0.7)
    axes = figure.subplots()
    start = 0.0
    for number, (name, size) in enumerate(sizes):
        colour = COLOURS[number % len(COLOURS)]
        axes.barh([0], [size], left=[start], height=1, color=colour, edgecolor="white", linewidth=1)
        if size > 0.06 * total:
            write(axes, start, 0.62, name, va="bottom", color=colour, weight="bold")
            share = f"{size:.2f}" if size < 0.12 * total else f"{size:.2f} bytes"
            write(axes, start + size / 2, -0.02, share, ha="center", va="center", color="white")
        start += size
    axes.set(xlim=(0, total), ylim=(-0.5, 0.5))
    bare(axes)
    write(axes, 0, -0.68, f"{total:.2f} bytes a crop", va="top")
    rows = tuple(
        (name, f"{size:.2f}", f"{size / total:.1%}", f"{size * num_crops / 2**20:,.2f} MiB")
        for name, size in parts.items()
    )
    return Picture(
        "size",
        as_files(figure, formats),
        "Size by part",
        "Bytes on disk for each crop; rest is metadata, paths, names and checksums.",
        f"Bar of {total:.2f} bytes a crop: " + ", ".join(f"{n} {s:.2f}" for n, s in sizes),
        Table(("part", "bytes a crop", "share", "in all"), rows),
    )
