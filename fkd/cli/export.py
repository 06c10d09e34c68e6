"""`fkd export`."""

from pathlib import Path
from typing import Any

import click

from fkd.amounts import as_count
from fkd.cli.options import PATH
from fkd.config import EXPORT_FORMATS


@click.command(short_help="Write a student for other programs: state dict, ONNX, pt2.")
@click.argument("run", type=PATH)
@click.option(
    "--format",
    type=click.Choice(EXPORT_FORMATS),
    default=EXPORT_FORMATS[0],
    help="A plain state dict, ONNX, or an exported program of torch.",
)
@click.option(
    "--out",
    type=PATH,
    help="The file to write  [default: student.* in the run, without the head features.*]",
)
@click.option(
    "--without-head",
    is_flag=True,
    help="Leave the last linear layer out: the student returns its features.",
)
@click.option(
    "--ema",
    is_flag=True,
    help="Take the moving average of the weights, by which a run with --ema chose its best.pt; "
    "without it, the student's own.",
)
@click.option(
    "--student",
    metavar="NAME",
    help="Which of a run's students, to student-NAME.*  [default: the first, to student.*]",
)
def export(run: Path, without_head: bool, **options: Any) -> None:
    """Write the student of RUN (its best, or a checkpoint) for other programs, and check the file.

    \b
    Example: fkd export runs/resnet50-topk5-m4-1 --format onnx
    """
    from fkd.students import checkpoint_file

    checkpoint_file(run)
    from fkd.students import export_student

    exported = export_student(run, head=not without_head, **options)
    what = "logits" if exported.features is None else as_count(exported.features, "feature")
    what += " at each pixel" if exported.maps else " at each frame" if exported.lines else ""
    off = f"{exported.relative:.1g} of the largest" if exported.difference else "the last bit"
    click.echo(f"{exported.path}: same {what} as the student, to {off}")
