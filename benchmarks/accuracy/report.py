"""Make docs/results.md and its plots from what run.py left.

python benchmarks/accuracy/report.py accuracy/
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import click
from matplotlib.figure import Figure
from remarks import OURS, PAPER
from trials import COMMON, EPOCHS, TRIALS, Trial

from fkd import LabelStore, Scheme
from fkd.info import bytes_per_crop

DOCS = Path(__file__).parents[2] / "docs"
PATH = click.Path(path_type=Path)

TITLES = {
    "methods": "The same crops, learned in six ways",
    "schemes": "What is kept of a label",
    "crops an image": "Crops an image a visit, m",
    "stored crops": "Stored crops an image, M",
    "replacement": "Each stored crop once, or drawn at random",
    "mixing": "With mixup, cutmix and hard labels",
}


@dataclass(frozen=True)
class Result:
    """One row: top-1 in percent of each seed, and seconds of training."""

    trial: Trial
    top1: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds, 0 for one."""
        return stdev(self.top1) if len(self.top1) > 1 else 0.0

    def shown(self) -> str:
        """Return mean ± spread, or that nothing has been run."""
        if not self.top1:
            return "–"
        return f"{mean(self.top1):.1f} ± {self.spread:.1f} ({len(self.top1)})"


@click.command()
@click.argument("study", type=PATH)
@click.option("--docs", default=DOCS, type=PATH)
@click.option("--data", default="Imagenette", show_default=True, help="Name of the images.")
def main(study: Path, docs: Path, data: str) -> None:
    """Write DOCS/results.md and a plot of each table from the runs in STUDY."""
    about = json.loads((study / "about.json").read_text())
    results = [read(study, trial) for trial in TRIALS]
    folder = docs / "results"
    folder.mkdir(parents=True, exist_ok=True)
    parts = [heading(about, data)]
    for table, title in TITLES.items():
        rows = [result for result in results if result.trial.table == table]
        if not any(row.top1 for row in rows):
            continue
        name = table.replace(" ", "-")
        plot(rows, folder / f"{name}.png", by_number=table in ("crops an image", "stored crops"))
        parts.append(f"## {title}\n\n{PAPER[table]}\n")
        parts.append("\n".join(table_lines(table, rows, about, study)) + "\n")
        parts.append(f"![{title}](results/{name}.png)\n")
        parts.append(f"{OURS[table]}\n" if table in OURS else "")
    (docs / "results.md").write_text("\n".join(part for part in parts if part), "utf-8")
    print(docs / "results.md")


def read(study: Path, trial: Trial) -> Result:
    """Gather what has been run of a trial."""
    found = []
    for seed in range(100):
        file = study / "runs" / trial.key(seed) / "trial.json"
        if not file.exists():
            break
        found.append(json.loads(file.read_text()))
    return Result(trial, tuple(100 * f["top1"] for f in found), tuple(f["seconds"] for f in found))


def heading(about: dict[str, Any], data: str) -> str:
    """Say what all figures have in common."""
    crops = EPOCHS * about["images"]
    return f"""# Does it pay?

Made by `python benchmarks/accuracy/run.py` and `report.py`; not edited by hand. Each figure is top-1 on
the `val` folder in percent, mean ± standard deviation over seeds (their number). All students see the
same number of crops with the same optimizer, schedule and size.

| | |
|---|---|
| images | {data}, {about["images"]:,} for training |
| teacher | {about["teacher"]}, restricted to the folder's classes, {about["size"]} px |
| student | a ResNet-10 of width 16 from scratch (`benchmarks/accuracy/students.py`), {about["size"]} px |
| seen | {EPOCHS} epochs, {crops:,} crops, batches of {COMMON["batch_size"]}, lr {COMMON["lr"]} at 1024 |
| stored | M = {about["stored"]} crops an image, labelled in {about["seconds"]["full"]:,.0f} s |
| machine | {about["hardware"]}, torch {about["torch"]}, {about["date"]} |
"""


def table_lines(
    table: str, rows: Sequence[Result], about: dict[str, Any], study: Path
) -> Iterator[str]:
    """Yield the lines of one table in Markdown."""
    if table == "methods":
        yield from methods_lines(rows, about)
        return
    if table == "schemes":
        sizes = [stored_size(study, row.trial) for row in rows]
        yield "| | top-1, % | bytes a crop |"
        yield "|---|--:|--:|"
        for row, size in zip(rows, sizes, strict=True):
            yield f"| {row.trial.name} | {row.shown()} | {size:.1f} |"
        return
    yield "| | top-1, % | training, s |"
    yield "|---|--:|--:|"
    for row in rows:
        yield f"| {row.trial.name} | {row.shown()} | {seconds(row)} |"


def methods_lines(rows: Sequence[Result], about: dict[str, Any]) -> Iterator[str]:
    """Yield the first table: it has the time of labelling, and how many trainings pay for it."""
    online = next(row for row in rows if row.trial.online)
    yield "| | top-1, % | training, s | labelling, s | pays from training |"
    yield "|---|--:|--:|--:|--:|"
    for row in rows:
        labelling = 0.0
        if not row.trial.online and "hard_weight" not in row.trial.settings:
            labelling = about["seconds"][row.trial.store]
        saved = mean(online.seconds) - mean(row.seconds) if row.seconds and online.seconds else 0
        pays = f"{max(1, -(-labelling // saved)):.0f}" if labelling and saved > 0 else "–"
        shown = f"{labelling:,.0f}" if labelling else "–"
        yield f"| {row.trial.name} | {row.shown()} | {seconds(row)} | {shown} | {pays} |"


def seconds(row: Result) -> str:
    """Return the mean time of training."""
    return f"{mean(row.seconds):,.0f}" if row.seconds else "–"


def stored_size(study: Path, trial: Trial) -> float:
    """Return the bytes a crop of a store that keeps just this; it is made once."""
    from stores import derive_as

    scheme = Scheme.parse(trial.compress)
    stored = Scheme("topk", scheme.k) if scheme.kind == "topk" else scheme
    return bytes_per_crop(derive_as(LabelStore.open(study / "full.zarr"), study, stored))["total"]


def plot(rows: Sequence[Result], path: Path, *, by_number: bool) -> None:
    """Draw the mean of each row, its spread, and each seed as a dot."""
    rows = [row for row in rows if row.top1]
    figure = Figure(figsize=(7, 0.42 * len(rows) + 1) if not by_number else (7, 3.2))
    axes = figure.subplots()
    means, spreads = [mean(r.top1) for r in rows], [r.spread for r in rows]
    if by_number:
        numbers = [int(r.trial.name.split("=")[1]) for r in rows]
        axes.errorbar(numbers, means, spreads, marker="o", capsize=3, color="#1f6fb4")
        axes.set_xscale("log", base=2)
        axes.set_xticks(numbers, [str(n) for n in numbers])
        axes.set(xlabel=rows[0].trial.name.split(" ")[0], ylabel="top-1, %")
    else:
        places = range(len(rows))
        axes.errorbar(means, places, xerr=spreads, fmt="o", capsize=3, color="#1f6fb4")
        for place, row in zip(places, rows, strict=True):
            axes.plot(row.top1, [place] * len(row.top1), ".", color="#1f6fb4", alpha=0.4)
        axes.set_yticks(list(places), [r.trial.name for r in rows])
        axes.invert_yaxis()
        axes.set(xlabel="top-1, %")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130, bbox_inches="tight")


if __name__ == "__main__":
    main()
