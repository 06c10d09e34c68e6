"""Does a student of maps learn as much from stored labels as from a teacher in the loop?

    python benchmarks/accuracy/map_study.py camvid/ --teacher teacher.pt2 --teacher-size 256 --out maps

One store keeps all that the teacher says of each crop, so that every student sees the same crops: those
of truth alone, of truth and labels with K kept classes or all of them, of an inner layer beside, and of
the teacher in the loop. `fkd copy` makes the stores of K classes. Students are judged by mIoU and
the share of right pixels on whole images of val. The folder is as benchmarks/accuracy/camvid.py makes it;
the teacher takes pixels in [-1, 1]. What is there already is not made again. --table prints a table of
what all runs below --out have reached.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
from online import TwoSizesLearner
from row_study import Row, RowStudy, asked_for, shared_options
from rows import size_of, table_of

from fkd import TeacherChoice, ViewPolicy
from fkd.config import Target
from fkd.sources import list_images
from fkd.teachers import Teacher

TRUTH, ONLINE, LAYER = "truth alone", "truth, teacher in the loop", "truth, full labels, layer"
_HALF = (0.5, 0.5, 0.5)


@click.command()
@shared_options(
    out="maps",
    student="thin_segmenter:thin_segmenter",
    kept=("topk1", "topk3", "full"),
    epochs=20,
    stored=20,
    lr=0.1,
)
@click.option("--teacher-size", default=256, show_default=True, help="Of its views, in pixels.")
@click.option("--layer", help="A layer of the teacher, whose channels a student's are drawn to.")
@click.option("--student-layer", default="body", show_default=True, help="That is drawn to it.")
@click.option("--size", default=128, show_default=True, help="Of the student's views, in pixels.")
@click.option("--weight", default=1.0, show_default=True, help="Of the loss to the teacher.")
def main(**options: Any) -> None:
    """Label, train and judge students of IMAGES."""
    if not options["table"]:
        run(options)
    print("\n".join(lines(options["out"])))


def run(options: Mapping[str, Any]) -> None:
    """Do what has not been done."""
    choice = TeacherChoice(
        options["teacher"],
        classes_file=options["teacher_classes"],
        size=options["teacher_size"],
        mean=_HALF,
        std=_HALF,
    )
    targets = () if options["layer"] is None else (Target(options["layer"], "int8", name="layer"),)  # type: ignore[arg-type]
    rows = asked_for(rows_of(options), options["wanted"])
    study = RowStudy.of(options, choice, ViewPolicy(scale=(0.25, 1.0)), targets)
    settings = {
        "student": options["student"],
        "size": options["size"],
        "batch_size": 16,
        "crops_per_image": 2,
        "epochs": options["epochs"],
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "lr": options["lr"],
        "warmup_epochs": 1,
    }
    study.train(rows, options["seeds"], settings, asking)


def rows_of(options: Mapping[str, Any]) -> list[Row]:
    """Return the rows of the table; that of a layer only where one is kept."""
    truth = {"to": "truth", "by": "ce"}
    known = [truth, {"to": "store", "by": "kl", "weight": options["weight"]}]
    layer = {"to": "store:layer", "layer": options["student_layer"], "by": "channel_kl"}
    layer |= {"temperature": 4, "weight": 3}  # as its paper's of feature maps
    return [
        Row(TRUTH, [truth]),
        *(Row(scheme, known, scheme) for scheme in options["kept"]),
        *([] if options["layer"] is None else [Row(LAYER, [*known, layer])]),
        Row(ONLINE, known, in_loop=True),
    ]


def asking(study: RowStudy, teacher: Teacher) -> Callable[..., TwoSizesLearner]:
    """Return what makes a learner that asks the teacher in its own size."""
    listed = list_images(study.images / "train", unlabelled=True)
    return partial(TwoSizesLearner, teacher, listed, study.store)


def lines(out: Path) -> list[str]:
    """Return a table of what was reached: means and deviations over seeds."""

    def named(row: str, _: object) -> tuple[str, str]:
        size = size_of(row, out)
        return f"truth, {row}" if size else row, size

    return table_of(out, "bytes a crop", {"mIoU, %": "miou", "pixels, %": "pixel_accuracy"}, named)


if __name__ == "__main__":
    import sys

    sys.path.append(os.getcwd())
    main()
