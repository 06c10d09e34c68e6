"""Does a student of maps learn as much from stored labels as from a teacher in the loop?

    python benchmarks/accuracy/map_study.py camvid/ --teacher teacher.pt2 --teacher-size 256 --out maps

One store keeps all that the teacher says of each crop, so that every student sees the same crops: those
of truth alone, of truth and labels with K kept classes or all of them, of an inner layer beside, and of
the teacher in the loop. `fkd copy` makes the stores of K classes. Students are judged by mIoU and
the share of right pixels on whole images of val. The folder is as benchmarks/accuracy/camvid.py makes it.
What is there already is not made again. --table prints a table of what all runs below --out have reached.
"""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from online import TwoSizesLearner
from rows import (
    copies,
    copy_of,
    keep,
    last_evaluation,
    mean_and_deviation,
    missing,
    reached_below,
    run_folder,
    size_of,
)

from fkd import (
    LabelConfig,
    LabelStore,
    Scheme,
    TeacherChoice,
    TrainConfig,
    ViewPolicy,
    label_images,
    train_student,
)
from fkd.config import Target
from fkd.sources import list_images
from fkd.teachers import load_teachers

TRUTH, ONLINE, LAYER = "truth alone", "truth, teacher in the loop", "truth, full labels, layer"
PATH = click.Path(path_type=Path)
_HALF = (0.5, 0.5, 0.5)


@click.command()
@click.argument("images", type=PATH)
@click.option("--out", default=Path("maps"), type=PATH, help="All is written below it.")
@click.option("--teacher", required=True, help="As of fkd label; it takes pixels in [-1, 1].")
@click.option("--teacher-classes", type=PATH, help="As of fkd label.")
@click.option("--teacher-size", default=256, show_default=True, help="Of its views, in pixels.")
@click.option("--layer", help="A layer of the teacher, whose channels a student's are drawn to.")
@click.option("--student", default="thin_segmenter:thin_segmenter", show_default=True)
@click.option("--student-layer", default="body", show_default=True, help="That is drawn to it.")
@click.option("--size", default=128, show_default=True, help="Of the student's views, in pixels.")
@click.option("--kept", multiple=True, default=("topk1", "topk3", "full"), help="As --compress.")
@click.option("--epochs", default=20, show_default=True, help="For which students learn.")
@click.option("--stored", default=20, show_default=True, help="Crops an image, M.")
@click.option("--weight", default=1.0, show_default=True, help="Of the loss to the teacher.")
@click.option("--lr", default=0.1, show_default=True, help="Of AdamW, at 1024 views a step.")
@click.option("--seeds", default=3, show_default=True, help="Students of each row.")
@click.option("--table", is_flag=True, help="Print the table of what is there, and stop.")
def main(**options: Any) -> None:
    """Label, train and judge students of IMAGES."""
    out: Path = options["out"]
    if not options["table"]:
        run(options, out)
    print("\n".join(lines(out)))


def run(options: Mapping[str, Any], out: Path) -> None:
    """Do what has not been done."""
    out.mkdir(parents=True, exist_ok=True)
    choice = TeacherChoice(
        options["teacher"],
        classes_file=options["teacher_classes"],
        size=options["teacher_size"],
        mean=_HALF,
        std=_HALF,
    )
    targets = () if options["layer"] is None else (Target(options["layer"], "int8", name="layer"),)  # type: ignore[arg-type]
    store = label_images(
        LabelConfig(
            options["images"],
            choice,
            out / "full.zarr",
            num_crops=options["stored"],
            scheme=Scheme("full"),
            views=ViewPolicy(scale=(0.25, 1.0)),
            targets=targets,
        )
    )
    copies(store, options["kept"], out)
    rows = [TRUTH, *options["kept"], *([LAYER] if targets else []), ONLINE]
    for row, seed in missing(out, rows, options["seeds"]):
        keep(out, row, seed, learn(options, out, row, seed, store, choice))


def terms(row: str, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the loss of a row of the table."""
    truth = {"to": "truth", "by": "ce"}
    if row == TRUTH:
        return [truth]
    known = [truth, {"to": "store", "by": "kl", "weight": options["weight"]}]
    if row == LAYER:
        layer = {"to": "store:layer", "layer": options["student_layer"], "by": "channel_kl"}
        known.append(layer | {"temperature": 4, "weight": 3})  # as its paper's of feature maps
    return known


def learn(
    options: Mapping[str, Any],
    out: Path,
    row: str,
    seed: int,
    store: LabelStore,
    choice: TeacherChoice,
) -> dict[str, float]:
    """Train a student; return what it reaches on val at its last step."""
    folder = run_folder(out, row, seed)
    learned = copy_of(store, row, out)
    config = TrainConfig.from_recipe(
        "fkd",
        store=learned.path,
        scheme=learned.spec.scheme.reading,
        images=options["images"],
        student=options["student"],
        size=options["size"],
        batch_size=16,
        crops_per_image=2,
        epochs=options["epochs"],
        optimizer="adamw",
        weight_decay=0.01,
        lr=options["lr"],
        warmup_epochs=1,
        seed=seed,
        workers=1,
        resume=True,
        loss=terms(row, options),
        out=folder,
    )
    if row == ONLINE:
        listed = list_images(options["images"] / "train", unlabelled=True)
        names = store.class_names()
        teacher = load_teachers([choice], names, torch.device("cpu")).teachers[0]
        train_student(config, learner=partial(TwoSizesLearner, teacher, listed, store))
    else:
        train_student(config)
    return last_evaluation(folder)


def lines(out: Path) -> list[str]:
    """Return a table of what was reached: means and deviations over seeds."""
    table = ["| student | bytes a crop | mIoU, % | pixels, % | seeds |", "|---|--:|--:|--:|--:|"]
    for row, seeds in reached_below(out).items():
        size = size_of(row, out)
        cells = [
            mean_and_deviation([100 * s[key] for s in seeds]) for key in ("miou", "pixel_accuracy")
        ]
        name = f"truth, {row}" if size else row
        table.append(f"| {name} | {size} | {' | '.join(cells)} | {len(seeds)} |")
    return table


if __name__ == "__main__":
    import sys

    sys.path.append(os.getcwd())
    main()
