"""`fkd eval`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fkd.amounts import as_count
from fkd.cli.options import PATH, machine
from fkd.errors import ConfigError

if TYPE_CHECKING:
    from fkd.evaluation import Accuracy, MapAccuracy


@click.command(name="eval", short_help="Print the accuracy, kNN or a linear probe of a student.")
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
@click.option(
    "--knn",
    is_flag=True,
    help="Print how often the nearest neighbours of an image, by cosine of features, vote for its class.",
)
@click.option("--k", type=int, help="Neighbours that vote  [default: 20, or all that there are]")
@click.option(
    "--probe",
    is_flag=True,
    help="Train a linear classifier on the features of --bank, print its top-1.",
)
@click.option(
    "--bank",
    type=PATH,
    help="Images of the same classes that are the neighbours, and that --probe trains on  [default: for "
    "--knn the other images of FOLDER]",
)
@click.option(
    "--layer",
    metavar="NAME",
    help="Layer of the student whose output are its features  [default: what goes into the last linear "
    "layer]",
)
@click.option("--batch-size", default=128, help="Images at a time.")
@machine
def evaluate(
    checkpoint: Path, folder: Path, knn: bool, probe: bool, real: Path | None, **options: Any
) -> None:
    """Print top-1 and top-5 of CHECKPOINT, or of a run's best, on FOLDER (or on FOLDER/val).

    Class folders are matched by name; folders that are all numbers, as ImageNetV2's, by position.
    --knn and --probe judge the features instead, whichever classes the student knows, if any.
    Of a student of maps, print mIoU, pixel accuracy and the IoU of each class, on images that have masks
    beside them. Of one of lines, print exact match and character error rate, on images with a labels.txt.

    \b
    Example: fkd eval runs/resnet50-topk5-m4-1/best.pt imagenet/val
    """
    from fkd.sources import require_images
    from fkd.students import checkpoint_file
    from fkd.truth import lined_root, masked_root

    given = {name: options.pop(name) for name in ("k", "bank", "layer")}
    of_features = {name: value for name, value in given.items() if value is not None}
    _refuse_what_does_nothing(of_features, knn, probe, real)
    checkpoint_file(checkpoint)
    for images in (folder, given["bank"]):
        if images is not None and not (lined_root(images, "val") or masked_root(images, "val")):
            # The student says whether they must have classes, or masks or texts beside them.
            require_images(images, unlabelled=True)
    if not (knn or probe):
        _print_accuracy(checkpoint, folder, real=real, **options)
    else:
        _print_features(checkpoint, folder, knn=knn, probe=probe, **of_features, **options)


def _refuse_what_does_nothing(
    of_features: Mapping[str, Any], knn: bool, probe: bool, real: Path | None
) -> None:
    for name in of_features:
        if name == "k" and not knn:
            raise ConfigError("--k counts the neighbours of --knn; give --knn, or leave it out")
        if not (knn or probe):
            raise ConfigError(
                f"--{name} is of --knn and --probe; give one of them, or leave it out"
            )
    if real is not None and (knn or probe):
        raise ConfigError("--real is of top-1, and not of --knn or --probe; leave one of them out")


def _print_accuracy(checkpoint: Path, folder: Path, **options: Any) -> None:
    from fkd.evaluation import Accuracy, MapAccuracy, evaluate_checkpoint

    found = evaluate_checkpoint(checkpoint, folder, **options)
    if isinstance(found, Accuracy):
        _print_top1(found)
    elif isinstance(found, MapAccuracy):
        _print_maps(found)
    else:
        counts = f"({as_count(found.num_images, 'image')}, {found.num_unusable:,} unusable)"
        click.echo(
            f"exact match {found.exact_match:.2%}  character error rate "
            f"{found.character_error_rate:.2%}  loss {found.loss:.4f}  {counts}"
        )


def _print_features(checkpoint: Path, folder: Path, **options: Any) -> None:
    from fkd.evaluation import evaluate_features

    found = evaluate_features(checkpoint, folder, **options)
    if found.accuracy is not None:
        _print_top1(found.accuracy)
    counts = f"{as_count(found.num_images, 'image')}, {found.num_unusable:,} unusable"
    bank = f"{as_count(found.bank_images, 'image')} of {options.get('bank')}"
    if found.knn is not None:
        among = f"among {bank}" if found.bank_images else "among the others"
        click.echo(f"kNN {found.knn:.2%}  ({counts}, k = {found.k} {among})")
    if found.probe is not None:
        of = f"({counts}, L2 {found.probe.l2:g}, trained on {bank})"
        click.echo(f"linear probe {found.probe.top1:.2%}  {of}")


def _print_top1(accuracy: "Accuracy") -> None:
    click.echo(
        f"top-1 {accuracy.top1:.2%}  top-5 {accuracy.top5:.2%}  loss {accuracy.loss:.4f}  "
        f"({as_count(accuracy.num_images, 'image')}, {accuracy.num_unusable:,} unusable)"
    )


def _print_maps(accuracy: "MapAccuracy") -> None:
    click.echo(
        f"mIoU {accuracy.miou:.2%}  pixel accuracy {accuracy.pixel_accuracy:.2%}  "
        f"loss {accuracy.loss:.4f}  ({as_count(accuracy.num_images, 'image')}, "
        f"{accuracy.num_unusable:,} unusable)"
    )
    width = max(map(len, accuracy.iou))
    for name, iou in accuracy.iou.items():
        click.echo(f"  {name:{width}}  {iou:7.2%}")
