"""Does it pay? Train the students of all tables; report.py makes docs/results.md of them.

    python benchmarks/accuracy/run.py imagenette/ --teacher mobilenet_v2 --size 128
    python benchmarks/accuracy/report.py accuracy/

It goes on where it was stopped; a finished run is not repeated. Three seeds of all tables take a night on
two cores. The folder needs train and val; without --teacher-weights the library's own are downloaded.
"""

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from online import train_online
from stores import (
    FULL,
    derive,
    label_full,
    label_maps,
    load_teacher,
    once_per_image,
    pooled,
    repeated,
)
from trials import COMMON, STORED, TRIALS, Trial

from fkd import LabelStore, Scheme, TeacherChoice, TrainConfig, train_student
from fkd.images import ImageList, dataset_root, list_images

PATH = click.Path(path_type=Path)


@dataclass(frozen=True)
class Study:
    """What all runs share."""

    images: Path
    teacher: TeacherChoice
    out: Path
    map_size: int
    workers: int


@click.command()
@click.argument("images", type=PATH)
@click.option("--teacher", default="mobilenet_v2", show_default=True)
@click.option("--teacher-weights", default="default", show_default=True)
@click.option("--teacher-classes", type=PATH)
@click.option("--size", default=128, show_default=True, help="Of a view, in pixels.")
@click.option("--mean", nargs=3, type=float, default=None)
@click.option("--std", nargs=3, type=float, default=None)
@click.option("--map-size", default=224, show_default=True, help="Of an image for its label map.")
@click.option("--out", default=Path("accuracy"), show_default=True, type=PATH)
@click.option("--seeds", default=3, show_default=True)
@click.option("--table", "tables", multiple=True, help="Only these  [default: all]")
@click.option("--workers", default=2, show_default=True)
@click.option("--minutes", type=float, help="Begin no run after so long.")
def main(images: Path, out: Path, seeds: int, tables: tuple[str, ...], **options: Any) -> None:
    """Label IMAGES, derive the stores, train the students."""
    began = time.monotonic()
    choice = TeacherChoice(
        options["teacher"],
        options["teacher_weights"],
        options["teacher_classes"],
        size=options["size"],
        mean=options["mean"],
        std=options["std"],
    )
    study = Study(images, choice, out, options["map_size"], options["workers"])
    out.mkdir(parents=True, exist_ok=True)
    make_stores(study)
    for trial, seed in planned(tables, seeds):
        if options["minutes"] and time.monotonic() - began > 60 * options["minutes"]:
            break
        train(study, trial, seed)


def planned(tables: tuple[str, ...], seeds: int) -> list[tuple[Trial, int]]:
    """Return the runs in the order in which they are made: table by table, seed by seed."""
    names = tables or tuple(dict.fromkeys(trial.table for trial in TRIALS))
    return [
        (trial, seed)
        for name in names
        for seed in range(seeds)
        for trial in TRIALS
        if trial.table == name
    ]


def make_stores(study: Study) -> None:
    """Label once with all probabilities; make the other stores from that, with the times it took."""
    images = list_images(dataset_root(study.images))
    about = study.out / "about.json"
    said = json.loads(about.read_text()) if about.exists() else {"seconds": {}}
    seconds = said["seconds"]
    full = study.out / "full.zarr"
    if "full" not in seconds:
        seconds["full"] = label_full(study.images, study.teacher, STORED, full)
        said |= {"images": len(images), "stored": STORED, "map_size": study.map_size}
        said |= {"teacher": study.teacher.name, "size": study.teacher.size, **machine()}
        about.write_text(json.dumps(said, indent=1))
    source = LabelStore.open(full)
    for name in sorted({trial.store for trial in TRIALS} - {"full"}):
        path = study.out / f"{name}.zarr"
        if not path.exists():
            began = time.perf_counter()
            make_store(study, source, name, path, images)
            seconds[name] = time.perf_counter() - began
            about.write_text(json.dumps(said, indent=1))


def make_store(study: Study, source: LabelStore, name: str, path: Path, images: ImageList) -> None:
    """Make one of the derived stores by its name."""
    every = np.tile(np.arange(STORED), (len(images), 1))
    if name == "image":
        teacher = load_teacher(study.teacher, images)
        derive(source, path, images, FULL, every, repeated(once_per_image(images, teacher)))
    elif name == "map":
        teacher = load_teacher(study.teacher, images)
        maps = label_maps(images, study.teacher, teacher, study.map_size)
        sizes = source.read_crops(range(1)).size
        derive(source, path, images, FULL, every, pooled(maps, sizes))
    elif name.startswith("first"):
        derive(source, path, images, FULL, every[:, : int(name.removeprefix("first"))])
    else:
        count = int(name.removeprefix("drawn"))
        drawn = np.random.default_rng(0).integers(count, size=(len(images), count))
        derive(source, path, images, FULL, drawn)


def train(study: Study, trial: Trial, seed: int) -> None:
    """Train one student, unless that has been done."""
    run = study.out / "runs" / trial.key(seed)
    if (run / "trial.json").exists():
        return
    print(f"{trial.table}: {trial.name}, seed {seed}", flush=True)
    settings = COMMON | trial.settings
    config = TrainConfig.from_recipe(
        "fkd",
        store=study.out / f"{trial.store}.zarr",
        images=study.images,
        scheme=Scheme.parse(trial.compress),
        out=run,
        resume=True,
        seed=seed,
        workers=study.workers,
        **settings,
    )
    if trial.online:
        images = list_images(dataset_root(study.images))
        train_online(config, load_teacher(study.teacher, images))
    else:
        train_student(config)
    found = outcome(run)
    (run / "trial.json").write_text(json.dumps(asdict(trial) | {"seed": seed} | found))


def outcome(run: Path) -> dict[str, float]:
    """Return the top-1 after the last step, and the seconds of training without evaluation."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    seconds, last = 0.0, 0
    for line in steps:
        seconds += (line["step"] - last) * COMMON["batch_size"] / line["views_per_s"]
        last = line["step"]
    top1 = [line for line in lines if line["kind"] == "eval"][-1]["top1"]
    return {"top1": top1, "seconds": seconds, "views": last * COMMON["batch_size"]}


def machine() -> dict[str, str]:
    """Return what the figures were measured on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "hardware": f"{cores} cores, {platform.machine()}",
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }


if __name__ == "__main__":
    main()
