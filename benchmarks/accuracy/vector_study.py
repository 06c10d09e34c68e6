"""Does a student learn as much from stored vectors as from a teacher in the loop, of how many bytes?

    python benchmarks/accuracy/vector_study.py tiny100/ --teacher-weights weights.pth --out vectors
    python benchmarks/accuracy/vector_study.py tiny100/ --simsiam 20 --out simsiam

The teacher's vectors are the input of its last linear layer, or with --simsiam those of a network that
is trained here without classes. A student's features are drawn to them by cosine, through a linear layer
that stays behind. It is judged by its features: 20 nearest neighbours and a linear probe, on classes that
it has never heard of, and after it was tuned on these. One store keeps the vectors in all schemes: every
student sees the same views. The folder needs train and val. What is there already is not made again.
--table prints a table of what all runs below --out have reached.
"""

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from online import TwoSizesLearner
from rows import Seeds, keep, last_evaluation, missing, table_of
from simsiam import train_simsiam
from torch import Tensor

from fkd import LabelConfig, LabelStore, TeacherChoice, TrainConfig, label_images, train_student
from fkd.config import Target, VectorScheme
from fkd.evaluation import evaluate_features
from fkd.info import bytes_per_crop
from fkd.loader import StudentBatch
from fkd.sources import list_images
from fkd.teachers import load_teachers

ONLINE, SCRATCH = "online", "no teacher"
PATH = click.Path(path_type=Path)
_HALF = (0.5, 0.5, 0.5)  # of the weights that are at hand, and of what is trained here


class OnlineVectors(TwoSizesLearner):
    """Learns from what the teacher's layer says now; what the store says of it is not read."""

    def vectors(self, batch: StudentBatch, rows: slice, target: str) -> Tensor:
        """Ask the teacher."""
        views = self.asked_of(batch, rows)
        return self._teacher.say(views, len(views)).vectors[target].clone()  # for autograd


@click.command()
@click.argument("images", type=PATH)
@click.option("--out", default=Path("vectors"), type=PATH, help="All is written below it.")
@click.option("--teacher", default="mobilenet_v2", show_default=True, help="As of fkd label.")
@click.option("--teacher-weights", default="default", show_default=True, help="As of fkd label.")
@click.option("--simsiam", type=int, help="Train a SimSiam for so many epochs, and let it teach.")
@click.option("--size", default=96, show_default=True, help="Of the teacher's views, in pixels.")
@click.option("--student-size", default=32, show_default=True, help="Of the student's views.")
@click.option(
    "--keep", "schemes", multiple=True, default=("f16", "int8"), help="Schemes of vectors."
)
@click.option("--epochs", default=4, show_default=True, help="For which students learn.")
@click.option("--tuned-epochs", default=3, show_default=True, help="On classes, afterwards.")
@click.option("--stored", default=4, show_default=True, help="Crops an image, M.")
@click.option("--lr", default=1.5, show_default=True, help="At 1024 views a step.")
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
    choice, layer = teacher_of(options, out)
    targets = {
        scheme: Target(layer, VectorScheme.parse(scheme), name=scheme)
        for scheme in options["schemes"]
    }
    store = label_images(
        LabelConfig(
            options["images"],
            choice,
            out / "vectors.zarr",
            num_crops=options["stored"],
            scheme="none",  # type: ignore[arg-type]
            targets=tuple(targets.values()),
        )
    )
    for row, seed in missing(out, (ONLINE, *targets, SCRATCH), options["seeds"]):
        target = targets.get(row, targets[options["schemes"][0]])
        keep(out, row, seed, learn_and_judge(options, out, row, seed, store, choice, target))


def teacher_of(options: Mapping[str, Any], out: Path) -> tuple[TeacherChoice, str]:
    """Return the teacher and the layer whose vectors are kept."""
    if options["simsiam"] is None:
        weights, size = options["teacher_weights"], options["size"]
        return TeacherChoice(
            options["teacher"], weights, size=size, mean=_HALF, std=_HALF
        ), "features"
    path = out / "simsiam.pt2"
    if not path.exists():
        spread = train_simsiam(
            list_images(options["images"] / "train"),
            options["student_size"],
            options["simsiam"],
            path,
        )
        (out / "simsiam.json").write_text(json.dumps({"spread": spread}))
    return TeacherChoice(str(path), size=options["student_size"], mean=_HALF, std=_HALF), ""


def learn_and_judge(
    options: Mapping[str, Any],
    out: Path,
    row: str,
    seed: int,
    store: LabelStore,
    choice: TeacherChoice,
    target: Target,
) -> dict[str, float]:
    """Train a student, judge its features, tune it on classes; return what was found."""
    listed = list_images(options["images"] / "train")
    common: dict[str, Any] = {
        "store": store.path,
        "images": options["images"],
        "student": "thin_resnet:thin_resnet",
        "size": options["student_size"],
        "batch_size": 64,
        "crops_per_image": 4,
        "seed": seed,
        "lr": options["lr"],
        "warmup_epochs": 0.2,
        "workers": 1,
        "resume": True,
    }
    run = out / f"{row}-seed{seed}"
    init = None
    parts = bytes_per_crop(store)
    found: dict[str, float] = {
        "bytes": parts["box"] + parts["flip"] + parts[f"vector {target.name}"]
    }
    if row != SCRATCH:
        term = {"to": f"store:{target.name}", "layer": "features", "by": "cosine"}
        config = TrainConfig.from_recipe(
            "fkd", **common, out=run, epochs=options["epochs"], loss=[term], val="none"
        )
        if row == ONLINE:
            teacher = load_teachers(
                [choice], listed.classes, torch.device("cpu"), targets=(target,), labels=False
            ).teachers[0]
            learner = partial(OnlineVectors, teacher, listed, store)
            train_student(config, learner=learner)
        else:
            train_student(config)
        init = str(run / "last.pt")
        found |= judged(Path(init), options["images"])
    tuned = TrainConfig.from_recipe(
        "fkd",
        **common,
        out=out / f"{row}-tuned-seed{seed}",
        epochs=options["tuned_epochs"],
        loss=[{"to": "truth", "by": "ce"}],
        init=init,
    )
    return found | {"tuned": last_evaluation(train_student(tuned))["top1"]}


def judged(checkpoint: Path, images: Path) -> dict[str, float]:
    """Return the top-1 of neighbours and of a linear probe, of a student's features."""
    found = evaluate_features(
        checkpoint, images / "val", probe=True, bank=images / "train", workers=1
    )
    assert found.knn is not None
    assert found.probe is not None
    return {"knn": found.knn, "probe": found.probe.top1}


def lines(out: Path) -> list[str]:
    """Return a table of what was reached: means and deviations over seeds."""
    measures = {"kNN, %": "knn", "probe, %": "probe", "tuned on classes, %": "tuned"}

    def named(row: str, seeds: Seeds) -> tuple[str, str]:
        return row, "" if row in (ONLINE, SCRATCH) else f"{seeds[0]['bytes']:.0f}"

    return table_of(out, "bytes a view", measures, named)


if __name__ == "__main__":
    import sys

    sys.path.append(os.getcwd())
    main()
