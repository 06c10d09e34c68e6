"""The storage table as Markdown, CSV and a plot, with the figures of the papers beside ours."""

import csv
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from fkd.errors import ConfigError
from fkd.figures import GREY, MAIN, PAGE, SECOND, figure_style, new_figure

IMAGENET = 1_281_167
GIB = 2**30

# FKD (ECCV 2022): N · M · (L + 5) · 4 bytes for N = 1.2 million, M = 200, with L numbers a label and
# 5 for the box and the flip.
PAPER_IMAGES, PAPER_CROPS = 1_200_000, 200
PAPER = {
    "full": 1000,
    "hard": 1,
    "smoothing": 2,
    "MS, K = 5": 10,
    "MR, K = 5": 10,
    "MS, K = 10": 20,
    "MR, K = 10": 20,
}
# ReLabel (CVPR 2021): one map of 15 × 15 positions an image, ids and values of the top 5, 4 bytes each.
RELABEL_BYTES = 15 * 15 * 5 * 2 * 4

HEADER = (
    "labels",
    "box B",
    "flip B",
    "ids B",
    "values B",
    "rest B",
    "bytes a crop",
    "GiB, M = 200",
    "GiB, M = 500",
    "paper GiB, M = 200",
    "KL, nats",
    "CE, nats",
    "top-1 agrees",
    "kept mass",
    "read, M crops/s",
)


@dataclass(frozen=True)
class Row:
    """One scheme as a student reads it; `size` is bytes per crop by part, `speed` is crops/s."""

    name: str
    size: dict[str, float]
    kl: float | None
    cross_entropy: float
    top1: float
    mass: float
    speed: float

    def cells(self) -> list[str]:
        """Return the cells of the row, in the order of the header."""
        total = self.size["total"]
        return [
            self.name,
            *[f"{self.size[part]:.2f}" for part in ("box", "flip", "ids", "values", "rest")],
            f"{total:.2f}",
            *[f"{total * IMAGENET * crops / GIB:.2f}" for crops in (200, 500)],
            paper_gib(self.name),
            "–" if self.kl is None else f"{self.kl:.2e}",
            f"{self.cross_entropy:.4f}",
            f"{self.top1:.4f}",
            f"{self.mass:.4f}",
            f"{self.speed / 1e6:.2f}",
        ]


def paper_gib(name: str) -> str:
    """Return the paper's figure by its formula, in GiB, where it has one."""
    if name not in PAPER:
        return "–"
    return f"{PAPER_IMAGES * PAPER_CROPS * (PAPER[name] + 5) * 4 / GIB:.1f}"


def write_report(rows: list[Row], note: str, entropy: float, out: Path) -> None:
    """Print the table, and write storage_table.md, .csv and .png into a folder."""
    text = markdown(rows, note, entropy)
    print("\n" + text)
    out.mkdir(parents=True, exist_ok=True)
    (out / "storage_table.md").write_text(text, "utf-8")
    with (out / "storage_table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *(row.cells() for row in rows)])
    try:
        plot(rows, out / "storage_table.png")
    except ConfigError as error:
        print(f"no plot: {error}")


def markdown(rows: list[Row], note: str, entropy: float) -> str:
    """Return the table with what it was measured on."""
    lines = [
        f"{note}.",
        f"The entropy of the full labels is {entropy:.4f} nats. {machine()}",
        "",
        "| " + " | ".join(HEADER) + " |",
        "|---" + "|--:" * (len(HEADER) - 1) + "|",
        *("| " + " | ".join(row.cells()) + " |" for row in rows),
        "",
        "GiB are for the 1,281,167 images of ImageNet-1K. The paper's figures are by its formula,",
        "N · M · (L + 5) · 4 bytes at N = 1.2 million. ReLabel keeps one map an image: by formula,",
        f"15 × 15 × 5 ids and values of 4 bytes, {RELABEL_BYTES * PAPER_IMAGES / GIB:.1f} GiB for any M.",
        "",
    ]
    return "\n".join(lines)


def machine() -> str:
    """Say what the figures were measured with."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "zarr", "numpy"))
    return (
        f"Measured with Python {platform.python_version()}, {libraries} on {os.cpu_count()} cores."
    )


@figure_style()
def plot(rows: list[Row], path: Path) -> None:
    """Draw size against the probability that is kept, the paper's size beside ours."""
    figure = new_figure(PAGE, 4.0)
    axes = figure.subplots()
    axes.scatter([], [], c=MAIN, label="this store, on disk")
    axes.scatter([], [], facecolors="none", edgecolors=SECOND, label="FKD paper, by formula")
    for row in rows:
        if row.name.startswith("MR"):
            continue  # the same bytes as MS
        size = row.size["total"]
        axes.scatter(size, row.mass, c=MAIN, s=30)
        if row.name in PAPER:
            theirs = (PAPER[row.name] + 5) * 4
            axes.plot([size, theirs], [row.mass] * 2, c=GREY, linewidth=0.6, zorder=0)
            axes.scatter(theirs, row.mass, facecolors="none", edgecolors=SECOND, s=30)
        below = -14 if row.name in ("hard", "full") else 8
        label = row.name.replace("MS, ", "")
        axes.annotate(label, (size, row.mass), (0, below), textcoords="offset points", ha="center")
    axes.set(xscale="log")
    axes.margins(0.08, 0.12)
    axes.set_xlabel("bytes per crop")
    axes.set_ylabel("kept probability")
    axes.grid()
    axes.legend(loc="lower right")
    figure.savefig(path)
