"""The storage table as Markdown, CSV and a plot, and the label sets of others beside ours."""

import csv
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from published_sets import FKD_IMAGES, IMAGENET, PUBLISHED, LabelSet, fkd_bytes
from published_sets import HEADER as SETS_HEADER
from published_sets import WORDS as SETS_WORDS

from fkd.errors import ConfigError
from fkd.figures import GREY, MAIN, PAGE, SECOND, figure_style, new_figure

GIB = 2**30

# FKD (ECCV 2022): numbers of a label, by the name of the scheme here.
PAPER_CROPS = 200
PAPER = {"full": 1000, "hard": 1, "smooth": 2, "topk5": 10, "topk10": 20}

REFERENCE = "topk5"  # KL is also told as a share of this scheme's
BESIDE_OTHERS = ("topk5", "topk5-coarse", "topk7-coarse", "topk10", "full-8bit")

# What each array is counted as; every other one holds values of labels.
PARTS = ("boxes", "flips", "palettes", "slots", "codes", "lists", "hashes", "fixed")
_PART = {"box": "boxes", "flip": "flips", "palette": "palettes", "slot": "slots"}
_PART |= dict.fromkeys(("path", "num_bytes", "size", "status", "target"), "lists")
_PART |= dict.fromkeys(("content_hash", "view_hash"), "hashes")
_PART |= dict.fromkeys(("metadata", "done", "fidelity", "class_name", "class_title"), "fixed")
_OF_CROPS, _OF_IMAGES = ("boxes", "flips", "slots", "codes"), ("lists", "hashes")
_OF_PALETTES = 0.36  # measured: 54 bytes an image at M = 50, 89 at M = 200 (MobileNetV2, top-5)

HEADER = (
    "labels",
    "mean K",
    *(f"{part} B" for part in PARTS),
    "bytes a crop",
    "GiB, M = 50",
    "GiB, M = 200",
    "GiB, M = 500",
    "paper GiB, M = 200",
    "KL, nats",
    "KL / top-5's",
    "KL quant.",
    "CE, nats",
    "CE re-norm",
    "top-1 agrees",
    "kept mass",
    "read, M crops/s",
)


@dataclass(frozen=True)
class Sizes:
    """Bytes on disk by array of a store of `num_images` images with `num_crops` crops each."""

    arrays: Mapping[str, int]
    num_images: int
    num_crops: int

    @property
    def crops(self) -> int:
        """Crops in all."""
        return self.num_images * self.num_crops

    def of(self, *parts: str) -> int:
        """Return the bytes of some parts."""
        return sum(n for array, n in self.arrays.items() if _PART.get(array, "codes") in parts)

    def gib(self, num_images: int, num_crops: int) -> float:
        """Return GiB of a store of other images: crops and images take more, the rest stays.

        An image's palette grows with its crops, but more slowly: every new crop has fewer new classes.
        """
        more = num_crops / self.num_crops
        each = self.of(*_OF_CROPS) * more + self.of(*_OF_IMAGES)
        each += self.of("palettes") * math.pow(more, _OF_PALETTES)
        return (each / self.num_images * num_images + self.of("fixed")) / GIB


@dataclass(frozen=True)
class Row:
    """One scheme. `kl` is of the whole label, `quantization` the part of it that rounding costs.

    `cross_entropy` is of the label as it is read whole, `renorm` by re-norm; `speed` is crops/s.
    """

    name: str
    kept: float
    size: Sizes
    kl: float | None
    quantization: float | None
    cross_entropy: float | None
    renorm: float | None
    top1: float | None
    mass: float | None
    speed: float

    @property
    def bytes_per_crop(self) -> float:
        """All bytes on disk, a crop."""
        return self.size.of(*PARTS) / self.size.crops

    def cells(self, reference: float | None) -> list[str]:
        """Return the cells of the row, in the order of the header; `reference` is the KL of top-5."""
        size = self.size
        share = None if self.kl is None or not reference else self.kl / reference
        return [
            self.name,
            f"{self.kept:.4g}",
            *(f"{size.of(part) / size.crops:.2f}" for part in PARTS),
            f"{self.bytes_per_crop:.2f}",
            *(f"{size.gib(IMAGENET, crops):.2f}" for crops in (50, 200, 500)),
            paper_gib(self.name),
            _or_dash(self.kl, ".2e"),
            _or_dash(share, ".0%"),
            _or_dash(self.quantization, ".2e"),
            _or_dash(self.cross_entropy, ".4f"),
            _or_dash(self.renorm, ".4f"),
            _or_dash(self.top1, ".4f"),
            _or_dash(self.mass, ".4f"),
            f"{self.speed / 1e6:.2f}",
        ]


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def paper_gib(name: str) -> str:
    """Return the paper's figure by its formula, in GiB, where it has one."""
    if name not in PAPER:
        return "–"
    return f"{FKD_IMAGES * PAPER_CROPS * fkd_bytes(PAPER[name]) / GIB:.1f}"


def write_report(rows: list[Row], note: str, entropy: float, out: Path) -> None:
    """Print both tables, and write storage_table.md, .csv and .png and label_sets.csv into a folder."""
    reference = next((row.kl for row in rows if row.name == REFERENCE), None)
    cells = [row.cells(reference) for row in rows]
    sets = [label_set.cells() for label_set in (*ours(rows), *PUBLISHED)]
    text = markdown(cells, sets, note, entropy)
    print("\n" + text)
    out.mkdir(parents=True, exist_ok=True)
    (out / "storage_table.md").write_text(text, "utf-8")
    for name, table in (("storage_table", [HEADER, *cells]), ("label_sets", [SETS_HEADER, *sets])):
        with (out / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(table)
    try:
        plot(rows, out / "storage_table.png")
    except ConfigError as error:
        print(f"no plot: {error}")


def ours(rows: list[Row]) -> list[LabelSet]:
    """Return the rows of some schemes as label sets of ImageNet-1K, M = 200."""
    return [
        LabelSet(
            f"fkd, {row.name}, M = {PAPER_CROPS}",
            f"crop: box, flip, {row.kept:,.4g} classes",
            row.size.gib(IMAGENET, PAPER_CROPS) * GIB / (IMAGENET * PAPER_CROPS),
            IMAGENET * PAPER_CROPS,
            "files of the table above, measured",
            "here",
        )
        for row in rows
        if row.name in BESIDE_OTHERS
    ]


def markdown(cells: list[list[str]], sets: list[list[str]], note: str, entropy: float) -> str:
    """Return both tables with what they were measured on."""
    lines = [
        f"{note}.",
        f"The entropy of the full labels is {entropy:.4f} nats. {machine()}",
        "",
        *_table(HEADER, cells, HEADER[:1]),
        "",
        "Parts are bytes a crop. GiB are for the 1,281,167 images of ImageNet-1K: boxes, flips, labels",
        "times M, palettes by its power of 0.36, lists and hashes once an image, the rest (metadata,",
        "seals, class names) as it is.",
        "KL is of the whole label from the truth named above. The paper's figures are by its formula,",
        "N · M · (L + 5) · 4 bytes at N = 1.2 million.",
        "",
        "Beside the label sets of others. GB are 10^9 bytes.",
        "",
        *_table(SETS_HEADER, sets, SETS_WORDS),
        "",
    ]
    return "\n".join(lines)


def _table(header: Sequence[str], cells: list[list[str]], words: Sequence[str]) -> list[str]:
    """Return a table in Markdown; the columns of `words` are flush left."""
    return [
        "| " + " | ".join(header) + " |",
        "|" + "|".join("---" if name in words else "--:" for name in header) + "|",
        *("| " + " | ".join(row) + " |" for row in cells),
    ]


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
        if row.mass is None:
            continue
        size = row.bytes_per_crop
        axes.scatter(size, row.mass, c=MAIN, s=30)
        if row.name in PAPER:
            theirs = fkd_bytes(PAPER[row.name])
            axes.plot([size, theirs], [row.mass] * 2, c=GREY, linewidth=0.6, zorder=0)
            axes.scatter(theirs, row.mass, facecolors="none", edgecolors=SECOND, s=30)
        below = -14 if row.name in ("hard", "full") else 8
        axes.annotate(
            row.name, (size, row.mass), (0, below), textcoords="offset points", ha="center"
        )
    axes.set(xscale="log")
    axes.margins(0.08, 0.12)
    axes.set_xlabel("bytes per crop")
    axes.set_ylabel("kept probability")
    axes.grid()
    axes.legend(loc="lower right")
    figure.savefig(path)
