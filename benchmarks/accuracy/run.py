"""Does it pay? Train the students of all tables; report.py makes docs/results.md of them.

    python benchmarks/accuracy/run.py imagenette/ --per-class 100 --tune 3 --out accuracy/few
    python benchmarks/accuracy/report.py accuracy/few

It goes on where it was stopped; a finished run is not repeated. Three seeds of all tables take three
hours on two cores. The folder needs train and val. Without --teacher-weights the library's own are
downloaded.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from clock import clock
from learners import train_all
from study import About, Study, choose_teacher, make_stores, subset
from trials import Plan

from fkd import FkdError, TeacherChoice

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("images", type=PATH)
@click.option("--per-class", type=int, help="Train on so many images of a class  [default: all]")
@click.option("--teacher", default="mobilenet_v2", show_default=True)
@click.option("--teacher-weights", default="default", show_default=True)
@click.option("--teacher-classes", type=PATH)
@click.option("--tune", default=0.0, help="Epochs for which the teacher is tuned first, on IMAGES.")
@click.option("--size", default=96, show_default=True, help="Of a view, in pixels.")
@click.option("--mean", nargs=3, type=float, default=None)
@click.option("--std", nargs=3, type=float, default=None)
@click.option("--map-size", default=144, show_default=True, help="Of an image for its label map.")
@click.option("--epochs", default=100, show_default=True, help="For which the students learn.")
@click.option("--stored", default=200, show_default=True, help="Crops an image, M.")
@click.option("--batch-size", default=Plan.batch_size, show_default=True)
@click.option("--student", default=Plan.student, show_default=True, help="As of fkd train.")
@click.option("--recipe", default=Plan.recipe, show_default=True, help="As of fkd train.")
@click.option("--lr", default=Plan.lr, show_default=True, help="At 1024 views a step.")
@click.option("--warmup-epochs", default=Plan.warmup_epochs, show_default=True)
@click.option("--amp", default=Plan.amp, show_default=True, help="Precision of the students.")
@click.option("--teacher-amp", default=Plan.teacher_amp, show_default=True, help="Of the teacher.")
@click.option("--out", default=Path("accuracy"), show_default=True, type=PATH)
@click.option("--seeds", default=3, show_default=True)
@click.option("--table", "tables", multiple=True, help="Only these  [default: all]")
@click.option("--jobs", default=1, show_default=True, help="Students trained at the same time.")
@click.option("--workers", default=2, show_default=True)
@click.option("--clock-steps", default=75, show_default=True, help="Timed of each way to learn.")
@click.option("--minutes", type=float, help="Begin no run after so long.")
def main(
    images: Path, out: Path, per_class: int | None, tables: tuple[str, ...], **options: Any
) -> None:
    """Label IMAGES, derive the stores, take the times, train the students."""
    try:
        carry_out(images, out, per_class, tables, options)
    except FkdError as error:
        raise click.ClickException(str(error)) from error


def carry_out(
    images: Path,
    out: Path,
    per_class: int | None,
    tables: tuple[str, ...],
    options: Mapping[str, Any],
) -> None:
    """Do what is asked, as far as it has not been done."""
    out.mkdir(parents=True, exist_ok=True)
    choice = TeacherChoice(
        options["teacher"],
        options["teacher_weights"],
        options["teacher_classes"],
        size=options["size"],
        mean=options["mean"],
        std=options["std"],
    )
    study = Study(
        images=subset(images, per_class, out / "images") if per_class else images,
        teacher=choose_teacher(choice, images, out, options["tune"]),
        out=out,
        plan=Plan(**{f.name: options[f.name] for f in fields(Plan)}),
        map_size=options["map_size"],
        workers=options["workers"],
    )
    trials = [trial for trial in study.trials if not tables or trial.table in tables]
    About(out).note(command=command())
    make_stores(study, {trial.store for trial in trials})
    clock(study, trials, options["clock_steps"])
    train_all(study, trials, options["seeds"], options["jobs"], options["minutes"])


def command() -> str:
    """Return the command line without what is told by the machine: of a path, the last part."""
    context = click.get_current_context()
    words = ["python benchmarks/accuracy/run.py", f"{context.params['images'].name}/"]
    for option in context.command.params:
        value = context.params[option.name or ""]
        if isinstance(option, click.Option) and value not in (None, option.default, ()):
            values = value if isinstance(value, tuple) else (value,)
            words += [option.opts[0], *(str(v).rsplit("/", 1)[-1] for v in values)]
    return " ".join(words)


if __name__ == "__main__":
    main()
