"""Does it pay? Train the students of all tables; report.py makes docs/results.md of them.

    python benchmarks/accuracy/run.py imagenette/ --per-class 100 --tune 12 --out accuracy/few
    python benchmarks/accuracy/report.py accuracy/few

It goes on where it was stopped; a finished run is not repeated. Three seeds of all tables take two to
three hours on two cores. The folder needs train and val. Without --teacher-weights the library's own
are downloaded.
"""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click
from about import About
from choices import choose_images, choose_teacher, try_student
from clock import take_times
from learners import train_all
from study import Study, make_stores
from tables import TABLES, planned_trials
from teacher import Tuning
from trials import Plan, Trial

from fkd import FkdError, TeacherChoice
from fkd.config import ViewPolicy
from fkd.errors import Stopped

PATH = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False)
COUNT = click.IntRange(1)
AMP = click.Choice(["off", "bf16", "fp16"])
LABEL_MAP = 3  # sides of a view; from 1.2 to 4.3, labels of 3 to 3.7 were nearest to the crops' own
# What these say changes no figure.
_OF_THE_MACHINE = {"tables", "rows", "seeds", "jobs", "workers", "clock_steps", "minutes"}


@click.command()
@click.argument("images", type=FOLDER)
@click.option("--per-class", type=COUNT, help="Train on so many images of a class  [default: all]")
@click.option("--teacher", default="mobilenet_v2", show_default=True, help="As of fkd label.")
@click.option("--teacher-weights", default="default", show_default=True, help="As of fkd label.")
@click.option("--teacher-classes", type=PATH, help="Names of its outputs, in order, a line each.")
@click.option("--tune", default=0.0, help="Epochs for which the teacher is tuned first.")
@click.option("--tune-lr", default=Tuning.lr, show_default=True, help="At 1024 views a step.")
@click.option("--tune-head", is_flag=True, help="Begin its last layer anew, for other classes.")
@click.option("--tune-on-all", is_flag=True, help="Of IMAGES, whatever --per-class says.")
@click.option(
    "--scale", nargs=2, type=float, default=ViewPolicy.scale, help="Of crops, as of fkd label."
)
@click.option("--size", default=96, show_default=True, type=COUNT, help="Of a view, in pixels.")
@click.option("--student-size", type=COUNT, help="Of a student's views  [default: --size]")
@click.option("--micro-batch", type=COUNT, help="As of fkd train.")
@click.option("--mean", nargs=3, type=float, default=None, help="Of the teacher's input.")
@click.option("--std", nargs=3, type=float, default=None, help="Of the teacher's input.")
@click.option(
    "--map-size",
    type=COUNT,
    help=f"Of an image for its label map  [default: {LABEL_MAP} times --size]",
)
@click.option(
    "--epochs", default=100, show_default=True, type=COUNT, help="For which the students learn."
)
@click.option("--stored", type=COUNT, help="Crops an image, M  [default: as many as epochs]")
@click.option(
    "--batch-size", default=Plan.batch_size, show_default=True, type=COUNT, help="A multiple of 4."
)
@click.option("--student", default=Plan.student, show_default=True, help="As of fkd train.")
@click.option("--recipe", default=Plan.recipe, show_default=True, help="As of fkd train.")
@click.option("--lr", type=float, help="At 1024 views a step  [default: 1, or the recipe's]")
@click.option(
    "--rate",
    "rates",
    nargs=2,
    type=(str, float),
    multiple=True,
    help="A row of table losses, trained once more at this --lr.",
)
@click.option("--warmup-epochs", type=float, help="  [default: 1, or the recipe's]")
@click.option("--amp", type=AMP, default=Plan.amp, show_default=True, help="Of the students.")
@click.option(
    "--teacher-amp", type=AMP, default=Plan.teacher_amp, show_default=True, help="Of the teacher."
)
@click.option(
    "--out",
    default=Path("accuracy"),
    show_default=True,
    type=FOLDER,
    help="All is written below it.",
)
@click.option("--seeds", default=3, show_default=True, type=COUNT, help="Students of each row.")
@click.option("--table", "tables", multiple=True, type=click.Choice(TABLES), help="Only these.")
@click.option("--row", "rows", multiple=True, help="Only these rows, by the name that tables have.")
@click.option("--jobs", default=1, show_default=True, type=COUNT, help="Students at a time.")
@click.option("--workers", default=2, show_default=True, type=COUNT, help="As of fkd train.")
@click.option("--clock-steps", default=75, show_default=True, type=COUNT, help="Timed of each.")
@click.option("--minutes", type=float, help="Begin no student after so many of them.")
def main(**options: Any) -> None:
    """Label IMAGES, derive the stores, take the times, train the students.

    IMAGES has a folder of each class in train and in val. report.py shows what the students reached.
    """
    try:
        carry_out(options, options["images"], options["out"])
    except Stopped:
        sys.exit("run.py was stopped; it goes on when the same command is run again")
    except FkdError as error:
        print(f"run.py: error: {error}", file=sys.stderr)
        sys.exit(2)


def carry_out(options: Mapping[str, Any], images: Path, out: Path) -> None:
    """Do what is asked, as far as it has not been done."""
    plan = plan_of(options)
    out.mkdir(parents=True, exist_ok=True)
    choice = TeacherChoice(
        options["teacher"],
        options["teacher_weights"],
        options["teacher_classes"],
        size=options["size"],
        mean=options["mean"],
        std=options["std"],
    )
    chosen = choose_images(images, options["per_class"], out)
    tables = options["tables"] or TABLES
    trials = [trial for trial in planned_trials(plan) if trial.table in tables]
    if options["rows"]:
        trials = chosen_rows(trials, options["rows"])
    maps = any(trial.store == "map" for trial in trials)
    try_student(plan.student, chosen)
    tuning = Tuning(options["tune"], options["tune_lr"], plan.scale, options["tune_head"])
    tuned_on = images if options["tune_on_all"] else chosen
    teacher = choose_teacher(choice, tuned_on, out, tuning, maps=maps)
    map_size = options["map_size"] or LABEL_MAP * options["size"]
    study = Study(chosen, teacher, out, plan, map_size, options["workers"])
    make_stores(study, {trial.store for trial in trials if not trial.needs})
    About(out).note(command=command())
    take_times(study, trials, options["clock_steps"])
    train_all(study, trials, options["seeds"], options["jobs"], options["minutes"])
    print(f"python {Path(__file__).with_name('report.py')} {out}    # to see what they reached")


def chosen_rows(trials: Sequence[Trial], names: Sequence[str]) -> list[Trial]:
    """Return the rows of these names; raises `FkdError` for a name that no row has."""
    known = dict.fromkeys(trial.name for trial in trials)
    for name in names:
        if name not in known:
            raise FkdError(f"no row is named {name!r}; these tables have {'; '.join(known)}")
    return [trial for trial in trials if trial.name in names]


def plan_of(options: Mapping[str, Any]) -> Plan:
    """Gather what all students share; the default student is trained at rates that suit it."""
    plan = Plan(**{f.name: options[f.name] for f in fields(Plan) if f.name != "stored"} | {
        "stored": options["stored"] or options["epochs"]
    })  # fmt: skip
    if plan.recipe != Plan.recipe:
        return plan
    return replace(
        plan,
        lr=1.0 if plan.lr is None else plan.lr,
        warmup_epochs=1.0 if plan.warmup_epochs is None else plan.warmup_epochs,
    )


def command() -> str:
    """Return the command line without what is of this machine: of a path, the last part."""
    context = click.get_current_context()
    words = ["python", "benchmarks/accuracy/run.py", f"{context.params['images'].name}/"]
    for option in context.command.params:
        name = option.name or ""
        value = context.params[name]
        if isinstance(option, click.Option) and name not in _OF_THE_MACHINE:
            if value in (None, False, (), option.default):
                continue
            for each in value if option.multiple else [value]:
                values = () if each is True else each if isinstance(each, tuple) else (each,)
                words += [option.opts[0], *map(shown, values)]
    return shlex.join(words)


def shown(value: Any) -> str:
    """Return a value as a command has it: of a path, the last part."""
    return value.name if isinstance(value, Path) else str(value).rsplit("/", 1)[-1]


if __name__ == "__main__":
    sys.path.append(os.getcwd())  # where a user's --student is
    main()
