"""`fkd eval`."""

from pathlib import Path
from typing import Any

import click

from fkd.cli.options import PATH, machine


@click.command(name="eval", short_help="Print top-1 and top-5 of a student on an image folder.")
@click.argument("checkpoint", type=PATH)
@click.argument("folder", type=PATH)
@click.option(
    "--ema",
    is_flag=True,
    help="Evaluate the moving average of the weights, by which a run with --ema chose its best.pt; "
    "without it, the student's own.",
)
@click.option("--student", metavar="NAME", help="Which of a run's students  [default: the first]")
@click.option("--real", type=PATH, help="ImageNet-ReaL's real.json: any class it names is right.")
@click.option(
    "--eval-size",
    metavar="S|HxW",
    help="Size of the views in pixels: a side, or height and width  [default: as its training evaluated]",
)
@click.option(
    "--eval-crop",
    type=float,
    help="Share of a resized image's shorter side that is evaluated, timm's crop_pct  [default: as its "
    "training evaluated]",
)
@click.option("--batch-size", default=128, help="Images at a time.")
@machine
def evaluate(checkpoint: Path, folder: Path, **options: Any) -> None:
    """Print top-1 and top-5 of CHECKPOINT, or of a run's best, on FOLDER (or on FOLDER/val).

    Class folders are matched by name; folders that are all numbers, as ImageNetV2's, by position.

    \b
    Example: fkd eval runs/resnet50-topk5-m4-1/best.pt imagenet/val
    """
    from fkd.sources import require_images
    from fkd.students import checkpoint_file

    checkpoint_file(checkpoint)
    require_images(folder)
    from fkd.students import evaluate_checkpoint

    accuracy = evaluate_checkpoint(checkpoint, folder, **options)
    click.echo(
        f"top-1 {accuracy.top1:.2%}  top-5 {accuracy.top5:.2%}  loss {accuracy.loss:.4f}  "
        f"({accuracy.num_images:,} images, {accuracy.num_unusable:,} unusable)"
    )
