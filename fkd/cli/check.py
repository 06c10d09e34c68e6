"""`fkd check`."""

import sys
from pathlib import Path
from typing import Any

import click

from fkd.cli.options import PATH, STORE, OrDefault, machine, once_or_each
from fkd.config import TeacherChoice, Url
from fkd.errors import ConfigError
from fkd.orders import CheckConfig
from fkd.progress import printable


@click.command(short_help="Check a store: every block, its values, and its images.")
@click.argument("store", type=STORE, default=Path("labels.zarr"))
@click.option("--images", type=PATH, help="The labelled images  [default: where the store says]")
@click.option(
    "--deep", is_flag=True, help="Read every image and compare its hash; draw all views anew."
)
@click.option(
    "--teacher",
    multiple=True,
    help="Ask this teacher again about --views stored views, and compare; given as for `fkd label`. "
    "Its preprocessing, temperature and precision are taken from the store.",
)
@click.option("--teacher-weights", multiple=True, default=["default"], help="As for `fkd label`.")
@click.option("--teacher-classes", multiple=True, type=OrDefault(PATH), help="As for `fkd label`.")
@click.option(
    "--teacher-ema/--no-teacher-ema", multiple=True, default=[False], help="As for `fkd label`."
)
@click.option("--views", default=CheckConfig.num_views, help="Stored views that it is asked about.")
@click.option("--seed", default=0, help="Which views these are.")
@click.option(
    "--repair", is_flag=True, help="Send damaged blocks back: `fkd label` makes only those again."
)
@machine
def check(store: Path | Url, **options: Any) -> None:
    """Check STORE (default labels.zarr): every block, its values, and that the images are the same.

    Exit code 0: nothing is wrong; the last line names what was not looked at, such as images that are
    elsewhere. 1: something is wrong, or blocks are not labelled yet. 2: there is no store, or what was
    asked for cannot be done.

    \b
    Example: fkd check labels.zarr
    Proof: fkd check --deep --teacher resnet152 labels.zarr
    """
    config = CheckConfig(
        store=store,
        images=options["images"],
        deep=options["deep"],
        teacher=_teachers(options),
        num_views=options["views"],
        seed=options["seed"],
        repair=options["repair"],
        workers=options["workers"],
        device=options["device"],
    )
    from fkd.format import (
        require_store,
    )

    require_store(store)
    from fkd.checking import check_store, summary

    report = check_store(config)
    for verdict in report.verdicts:
        click.echo(f"{verdict.part:<9} {verdict.state:<7} {printable(verdict.detail)}")
    click.echo(f"{printable(str(store))}: {summary(report)}")
    sys.exit(0 if report.ok else 1)


def _teachers(options: dict[str, Any]) -> tuple[TeacherChoice, ...]:
    count = len(options["teacher"])
    given = options["teacher_weights"] != ("default",) or any(options["teacher_ema"])
    if not count and (given or options["teacher_classes"]):
        raise ConfigError(
            "--teacher-weights, --teacher-ema and --teacher-classes do nothing without --teacher"
        )
    weights = once_or_each("--teacher-weights", options["teacher_weights"], count)
    classes = once_or_each("--teacher-classes", options["teacher_classes"], count)
    averages = once_or_each("--teacher-ema", options["teacher_ema"], count)
    each = zip(options["teacher"], weights, classes, averages, strict=True)
    return tuple(TeacherChoice(name, file, names, ema=ema) for name, file, names, ema in each)
