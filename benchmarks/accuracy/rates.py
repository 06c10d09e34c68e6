"""Choose a learning rate for losses, on images that neither the teacher nor a student is trained on.

    python benchmarks/accuracy/rates.py OUT HELD --row "KL, T = 4, full" --lr 1.5 --lr 3 --lr 6

OUT is the folder of a study that run.py has labelled. A student of each row is trained at each rate, with
the first seed and for as many epochs as the study's, and is judged on the folder HELD: images of the same
classes. What they reach is noted in OUT, for the report; run.py's --lr and --rate take what is chosen.
"""

import sys
from dataclasses import replace
from pathlib import Path

import click
import torch
from about import About
from learners import config_of
from run import chosen_rows
from study import Study
from tables import LOSS_TABLES, planned_trials
from trials import Plan, Trial

from fkd import FkdError, LabelStore, TeacherChoice, train_student
from fkd.progress import note
from fkd.runs import read_metrics

FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
HELD = "held"  # among what is known of a study: top-1 by row and rate


@click.command()
@click.argument("out", type=FOLDER)
@click.argument("held", type=FOLDER)
@click.option("--row", "rows", multiple=True, required=True, help="By the name that tables have.")
@click.option("--lr", "rates", multiple=True, required=True, type=float, help="At 1024 views.")
def main(out: Path, held: Path, rows: tuple[str, ...], rates: tuple[float, ...]) -> None:
    """Train students of the study OUT at each rate, and judge them on HELD."""
    torch.set_num_threads(1)
    try:
        about = About(out)
        plan = Plan(**about.said["plan"])
        labelled = LabelStore.open(out / "full.zarr").spec.images_root
        study = Study(Path(labelled), TeacherChoice(about.said["teacher"]), out, plan, 0, 1)
        losses = [trial for trial in planned_trials(plan) if trial.table == LOSS_TABLES[0]]
        for trial in chosen_rows(losses, rows):
            for lr in rates:
                try_rate(study, trial, lr, held)
    except FkdError as error:
        print(f"rates.py: error: {error}", file=sys.stderr)
        sys.exit(2)


def try_rate(study: Study, trial: Trial, lr: float, held: Path) -> None:
    """Train one student at a rate, unless that has been done; note what it reaches."""
    about = About(study.out)
    known = about.said.get(HELD, {})
    if f"{lr:g}" in known.get(trial.name, {}):
        return
    run = study.out / "rates" / f"{trial.key}_lr{lr:g}"
    config = config_of(study, replace(trial, settings=trial.settings | {"lr": lr}), run)
    train_student(replace(config, val=held))
    top1 = [line["top1"] for line in read_metrics(run) if line["kind"] == "eval"][-1]
    note(f"{trial.name} at {lr:g}: {top1:.1%}")
    found = known.get(trial.name, {}) | {f"{lr:g}": top1}
    about.note(**{HELD: known | {trial.name: found}})


if __name__ == "__main__":
    main()
