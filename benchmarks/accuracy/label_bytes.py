"""Does the student notice how its labels are stored? Students of one set of crops, by scheme.

    fkd label --teacher … --compress full --crops 12 --out full.zarr tiny/
    python benchmarks/accuracy/label_bytes.py full.zarr tiny/ --out label-bytes

A store of all probabilities is written anew in every scheme, so all students of a seed see the same
crops in the same order, and differ in what is left of the labels. It goes on where it was stopped. The
table, `label-bytes.md` with `label-bytes.json` beside it, has what there is: accuracy is top-1 on the
val folder after the last step, and a difference is that of students of the same seed, ± its standard
error.
"""

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from about import write_json
from stores import derive

from fkd import LabelStore, Scheme, TrainConfig, train_student
from fkd.info import bytes_per_crop
from fkd.runs import read_metrics
from fkd.sources import dataset_root, list_images

PATH = click.Path(path_type=Path, exists=True)
BESIDE = "topk5"  # what the others are compared with


@dataclass(frozen=True)
class Way:
    """A row: how labels are stored, and how a student reads them; `plain` students read none."""

    stored: str
    read: str
    plain: bool = False

    @property
    def name(self) -> str:
        """What the row is called."""
        return "no teacher" if self.plain else self.stored


WAYS = (
    Way("full", "hard", plain=True),
    Way("full", "full"),
    Way("topk5", "topk5"),
    Way("topk5-coarse", "topk5"),
    Way("samples1", "samples1"),
    Way("samples4", "samples4"),
)


@click.command()
@click.argument("store", type=PATH)
@click.argument("images", type=PATH)
@click.option("--out", default="label-bytes", type=click.Path(path_type=Path), show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--epochs", default=24.0, show_default=True)
@click.option("--size", default=64, show_default=True, help="Of a student's views, in pixels.")
@click.option("--only", multiple=True, help="Only these rows.")
@click.option("--report", is_flag=True, help="Train no one; write the table of what there is.")
def main(
    store: Path, images: Path, out: Path, only: Sequence[str], report: bool, **how: Any
) -> None:
    """Train the students of STORE, whose labels are full, and write the table."""
    out.mkdir(parents=True, exist_ok=True)
    source = LabelStore.open(store)
    if source.spec.scheme != Scheme("full"):
        raise click.UsageError(f"{store} holds {source.spec.scheme}; give a store of full labels")
    ways = [way for way in WAYS if not only or way.name in only]
    if not report:
        torch.set_num_threads(1)
        listed = list_images(dataset_root(images))
        for way in ways:
            if not (out / f"{way.stored}.zarr").exists():
                every = np.tile(np.arange(source.spec.num_crops), (source.spec.num_images, 1))
                derive(source, out / f"{way.stored}.zarr", listed, Scheme.parse(way.stored), every)
        for seed in range(how["seeds"]):
            for way in ways:
                train(way, seed, images, out, how["epochs"], how["size"])
    rows = list(outcomes(out, how["seeds"]))
    write_json(out / "label-bytes.json", {"students": how, "rows": rows})
    text = table(rows)
    (out / "label-bytes.md").write_text(text)
    print(text)


def train(way: Way, seed: int, images: Path, out: Path, epochs: float, size: int) -> None:
    """Train one student, once."""
    run = out / "runs" / f"{way.name.replace(' ', '-')}-{seed}"
    done = run / "top1.json"
    if done.exists():
        return
    train_student(
        TrainConfig.from_recipe(
            "fkd", store=out / f"{way.stored}.zarr", images=images, out=run, resume=True,
            student="thin_resnet:thin_resnet", scheme=Scheme.parse(way.read), crops_per_image=4,
            epochs=epochs, eval_every=epochs, batch_size=128, lr=1.0, warmup_epochs=1, size=size,
            workers=1, seed=seed, **({"hard_weight": 1.0} if way.plain else {}),
        )
    )  # fmt: skip
    top1 = [line for line in read_metrics(run) if line["kind"] == "eval"][-1]["top1"]
    done.write_text(json.dumps(top1))


def outcomes(out: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield what the students of each row reached."""
    reached = {way.name: top1_of(out, way, seeds) for way in WAYS}
    beside = reached[BESIDE]
    for way in WAYS:
        found = reached[way.name]
        if not found:
            continue
        both = [found[seed] - beside[seed] for seed in found if seed in beside]
        store = LabelStore.open(out / f"{way.stored}.zarr")
        yield {
            "labels": way.name,
            "bytes": None if way.plain else bytes_per_crop(store)["total"],
            "top1": list(found.values()),
            "against": None if way.name == BESIDE else statistics.fmean(both) if both else None,
            "error": statistics.stdev(both) / math.sqrt(len(both)) if len(both) > 1 else None,
        }  # fmt: skip


def top1_of(out: Path, way: Way, seeds: int) -> dict[int, float]:
    """Return the top-1 in percent of the students of a row that have ended, by seed."""
    files = {
        seed: out / "runs" / f"{way.name.replace(' ', '-')}-{seed}" / "top1.json"
        for seed in range(seeds)
    }
    return {
        seed: 100 * json.loads(file.read_text()) for seed, file in files.items() if file.exists()
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    lines = [f"| labels | bytes a crop | top-1, % | against {BESIDE} |", "|---|--:|--:|--:|"]
    for row in rows:
        top1, against, error = row["top1"], row["against"], row["error"]
        spread = f" ± {statistics.stdev(top1):.1f}" if len(top1) > 1 else ""
        beside = "–" if against is None else f"{against:+.1f}"
        beside += "" if against is None or error is None else f" ± {error:.1f}"
        size = "–" if row["bytes"] is None else f"{row['bytes']:.1f}"
        reached = f"{statistics.fmean(top1):.1f}{spread} ({len(top1)})"
        lines.append(f"| {row['labels']} | {size} | {reached} | {beside} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
