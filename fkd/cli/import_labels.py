"""`fkd import`."""

from dataclasses import fields
from typing import Any

import click

from fkd.amounts import as_count
from fkd.cli.options import CORES, PATH, splitting
from fkd.config import INTERPOLATIONS, Scheme
from fkd.orders import LABEL_FORMATS, ImportConfig
from fkd.progress import printable

_IMPORT = {f.name: f.default for f in fields(ImportConfig)}


@click.command("import", short_help="Make a store of labels that another program made.")
@click.argument("labels", type=PATH)
@click.argument("images", type=PATH)
@click.option(
    "--format", type=click.Choice(LABEL_FORMATS), default=LABEL_FORMATS[0], help="What LABELS are."
)
@click.option("--out", default=_IMPORT["out"], type=PATH, help="The label store to make.")
@click.option(
    "--teacher", default=_IMPORT["teacher"], help="Who labelled: a name for the record, no model."
)
@click.option(
    "--crops", "num_crops", type=int, help="Crops of each image that are taken  [default: all]"
)
@click.option("--compress", help="What is stored, as for fkd label  [default: all that labels say]")
@click.option(
    "--teacher-classes",
    "classes_file",
    type=PATH,
    help="File with one class name per class id, in order  [default: the class folders]",
)
@click.option("--class-names", type=PATH, help="File with a name to read for each class.")
@click.option("--size", default=_IMPORT["size"], help="Side of a student's views in pixels.")
@click.option(
    "--interpolation",
    type=click.Choice(INTERPOLATIONS),
    default=_IMPORT["interpolation"],
    help="Resampling of a student's views.",
)
@splitting
@click.option("--max-bad", default=0.0, help="Share of images without labels above which to stop.")
@click.option("--overwrite", is_flag=True, help="Start anew instead of continuing a store.")
@click.option("--workers", default=CORES, help="Threads that read and convert.")
def import_(compress: str | None, **options: Any) -> None:
    """Make a store of LABELS, which another program made of IMAGES.

    The format fkd is that of FKD's own code: a file an image, LABELS/train/CLASS/NAME.tar. Boxes are
    shares of an image's sides, so IMAGES may be smaller copies. Files are read without running what is
    in them. A store that is there already is continued.

    \b
    Example: fkd import --format fkd FKD_soft_label_500_crops_marginal_smoothing_k_5 imagenet/
    """
    scheme = None if compress is None else Scheme.parse(compress)
    config = ImportConfig(scheme=scheme, **options)
    from fkd.exchanging import check_import

    check_import(config)
    from fkd.exchanging import import_labels
    from fkd.info import bad_images, bytes_per_crop

    store = import_labels(config)
    for path, reason in bad_images(store):
        click.echo(f"no labels for {printable(path)}: {reason}", err=True)
    spec = store.spec
    click.echo(
        f"{config.out}: {as_count(spec.num_images, 'image')} × {as_count(spec.num_crops, 'crop')}, "
        f"{spec.scheme}, {bytes_per_crop(store)['total']:.1f} bytes per crop"
    )
