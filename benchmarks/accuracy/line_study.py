"""Does a recogniser of lines learn as much from stored labels as from a teacher in the loop?

    python benchmarks/accuracy/line_study.py lines/ --teacher receipts:tiny \
        --teacher-classes lines/tiny.txt --out reads

One store keeps all that the teacher says of each frame, so that every student sees the same crops: those
of texts alone, of stored labels alone, of both, of the teacher in the loop, and two students that learn
of each other besides, as PaddleOCR has them. `fkd copy` makes the stores of K characters. Students
are judged by exact match and character error rate on whole lines of val, of two the first. The folder is
as benchmarks/accuracy/receipts.py makes it. What is there already is not made again. --table prints a
table of what all runs below --out have reached.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from online import OnlineLearner
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
from fkd.config import StudentChoice
from fkd.teachers import load_teachers

PATH = click.Path(path_type=Path)
_HALF = (0.5, 0.5, 0.5)

TEXTS = {"to": "truth", "by": "ctc"}
STORE = {"to": "store", "by": "kl"}
PEERS = ({"to": "peers", "by": "symmetric_kl"}, {"to": "peers", "by": "l2", "layer": "backbone"})
IN_LOOP = "teacher in the loop"


@dataclass(frozen=True)
class Row:
    """A row of the table: the loss, what is read of the store, and how many students there are."""

    loss: tuple[Mapping[str, str], ...]
    kept: str = ""
    pair: bool = False

    @property
    def name(self) -> str:
        """What the loss is to, the peers first, the label that it reads last."""
        words = ["two peers"] if self.pair else []
        words += ["texts"] if TEXTS in self.loss else []
        return ", ".join([*words, self.kept] if self.kept else words)


@click.command()
@click.argument("images", type=PATH)
@click.option("--out", default=Path("reads"), type=PATH, help="All is written below it.")
@click.option("--teacher", required=True, help="As of fkd label; it says probabilities.")
@click.option("--teacher-classes", type=PATH, help="As of fkd label.")
@click.option("--student", default="fkd.models:crnn", show_default=True)
@click.option("--size", default=(48, 320), show_default=True, type=(int, int), help="Of all views.")
@click.option("--kept", multiple=True, default=("topk5", "full"), help="As --compress.")
@click.option("--epochs", default=2, show_default=True, help="For which students learn.")
@click.option("--stored", default=2, show_default=True, help="Crops a line, M.")
@click.option("--lr", default=0.048, show_default=True, help="Of Adam, at 1024 views a step.")
@click.option("--row", "wanted", multiple=True, help="A row of the table; all rows without it.")
@click.option("--seeds", default=3, show_default=True, help="Students of each row.")
@click.option("--table", is_flag=True, help="Print the table of what is there, and stop.")
def main(**options: Any) -> None:
    """Label, train and judge students of IMAGES."""
    if not options["table"]:
        run(options, options["out"])
    print("\n".join(lines(options["out"])))


def rows_of(kept: Sequence[str]) -> dict[str, Row]:
    """Return the rows of a study by their names."""
    first = kept[0]
    rows = [
        Row((TEXTS,)),
        Row((STORE,), first),
        *(Row((TEXTS, STORE), scheme) for scheme in kept),
        Row((TEXTS, STORE), IN_LOOP),
        Row((TEXTS, *PEERS), pair=True),
        Row((TEXTS, *PEERS, STORE), first, pair=True),
    ]
    return {row.name: row for row in rows}


def run(options: Mapping[str, Any], out: Path) -> None:
    """Do what has not been done."""
    out.mkdir(parents=True, exist_ok=True)
    choice = TeacherChoice(
        options["teacher"],
        classes_file=options["teacher_classes"],
        size=options["size"],
        mean=_HALF,
        std=_HALF,
        output="probs",
    )
    views = ViewPolicy(scale=(0.9, 1.0), ratio=(0.95, 1.05), flip=False, fit="pad")
    store = label_images(
        LabelConfig(
            options["images"],
            choice,
            out / "full.zarr",
            num_crops=options["stored"],
            scheme=Scheme("full"),
            views=views,
        )
    )
    copies(store, options["kept"], out)
    rows = rows_of(options["kept"])
    for name, seed in missing(out, options["wanted"] or list(rows), options["seeds"]):
        keep(out, name, seed, learn(options, out, rows[name], seed, store, choice))


def learn(
    options: Mapping[str, Any],
    out: Path,
    row: Row,
    seed: int,
    store: LabelStore,
    choice: TeacherChoice,
) -> dict[str, float]:
    """Train a student, or two; return what the first reaches on val at its last step."""
    folder = run_folder(out, row.name, seed)
    model, in_loop = options["student"], row.kept == IN_LOOP
    learned = copy_of(store, row.kept, out)
    config = TrainConfig.from_recipe(
        "fkd",
        store=learned.path,
        scheme=learned.spec.scheme.reading,
        images=options["images"],
        student=[StudentChoice(model, "a"), StudentChoice(model, "b")] if row.pair else model,
        batch_size=32,
        crops_per_image=1,
        epochs=options["epochs"],
        eval_every=options["epochs"],
        optimizer="adam",
        weight_decay=2e-5,
        lr=options["lr"],
        warmup_epochs=0.2,
        seed=seed,
        workers=1,
        resume=True,
        loss=list(row.loss),
        out=folder,
    )
    if in_loop:
        names = store.class_names()
        teacher = load_teachers([choice], names, torch.device("cpu")).teachers[0]
        train_student(config, learner=partial(OnlineLearner, teacher))
    else:
        train_student(config)
    return last_evaluation(folder)


def lines(out: Path) -> list[str]:
    """Return a table of what was reached: means and deviations over seeds."""
    table = ["| student | bytes a crop | exact, % | CER, % | seeds |", "|---|--:|--:|--:|--:|"]
    for name, seeds in reached_below(out).items():
        reached = [
            mean_and_deviation([100 * one[key] for one in seeds])
            for key in ("exact_match", "character_error_rate")
        ]
        size = size_of(name.rpartition(", ")[2], out)
        table.append(f"| {name} | {size} | {' | '.join(reached)} | {len(seeds)} |")
    return table


if __name__ == "__main__":
    import sys

    sys.path.append(os.getcwd())
    main()
