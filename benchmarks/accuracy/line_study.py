"""Does a recogniser of lines learn as much from stored labels as from a teacher in the loop?

    python benchmarks/accuracy/line_study.py lines/ --teacher receipts:tiny \
        --teacher-classes lines/tiny.txt --out reads

One store keeps all that the teacher says of each frame, so that every student sees the same crops: those
of texts alone, of stored labels alone, of both, of the teacher in the loop, and two students that learn
of each other besides, as PaddleOCR has them. `fkd copy` makes the stores of K characters. Students
are judged by exact match and character error rate on whole lines of val, of two the first. The folder is
as benchmarks/accuracy/receipts.py makes it; the teacher says probabilities. What is there already is not
made again. --table prints a table of what all runs below --out have reached.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
from online import OnlineLearner
from row_study import Row, RowStudy, asked_for, shared_options
from rows import size_of, table_of

from fkd import TeacherChoice, ViewPolicy
from fkd.config import StudentChoice
from fkd.teachers import Teacher

_HALF = (0.5, 0.5, 0.5)

TEXTS = {"to": "truth", "by": "ctc"}
STORE = {"to": "store", "by": "kl"}
PEERS = ({"to": "peers", "by": "symmetric_kl"}, {"to": "peers", "by": "l2", "layer": "backbone"})


@click.command()
@shared_options(
    out="reads", student="fkd.models:crnn", kept=("topk5", "full"), epochs=2, stored=2, lr=0.048
)
@click.option("--size", default=(48, 320), show_default=True, type=(int, int), help="Of all views.")
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
        size=options["size"],
        mean=_HALF,
        std=_HALF,
        output="probs",
    )
    views = ViewPolicy(scale=(0.9, 1.0), ratio=(0.95, 1.05), flip=False, fit="pad")
    rows = asked_for(rows_of(options), options["wanted"])
    study = RowStudy.of(options, choice, views)
    settings = {
        "student": options["student"],
        "batch_size": 32,
        "crops_per_image": 1,
        "epochs": options["epochs"],
        "eval_every": options["epochs"],
        "optimizer": "adam",
        "weight_decay": 2e-5,
        "lr": options["lr"],
        "warmup_epochs": 0.2,
    }
    study.train(rows, options["seeds"], settings, asking)


def rows_of(options: Mapping[str, Any]) -> list[Row]:
    """Return the rows of the table: texts, stored labels, both, and pairs of students."""
    model, first = options["student"], options["kept"][0]
    pair = {"student": [StudentChoice(model, "a"), StudentChoice(model, "b")]}
    both = (TEXTS, STORE)
    return [
        Row("texts", [TEXTS]),
        Row(first, [STORE], first),
        *(Row(f"texts, {scheme}", both, scheme) for scheme in options["kept"]),
        Row("texts, teacher in the loop", both, in_loop=True),
        Row("two peers, texts", [TEXTS, *PEERS], more=pair),
        Row(f"two peers, texts, {first}", [TEXTS, *PEERS, STORE], first, more=pair),
    ]


def asking(_: RowStudy, teacher: Teacher) -> Callable[..., OnlineLearner]:
    """Return what makes a learner that asks the teacher of the student's views."""
    return partial(OnlineLearner, teacher)


def lines(out: Path) -> list[str]:
    """Return a table of what was reached: means and deviations over seeds."""
    measures = {"exact, %": "exact_match", "CER, %": "character_error_rate"}

    def named(row: str, _: object) -> tuple[str, str]:
        return row, size_of(row.rpartition(", ")[2], out)

    return table_of(out, "bytes a crop", measures, named)


if __name__ == "__main__":
    import sys

    sys.path.append(os.getcwd())
    main()
