"""`fkd copy`, `fkd merge` and `fkd average`: stores that are made of stores."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fkd.cli.options import CORES, PATH, STORE, ManyNumbers
from fkd.config import Part, Scheme, Url
from fkd.errors import ConfigError
from fkd.orders import AverageConfig, CardConfig, CopyConfig, MergeConfig
from fkd.progress import printable

if TYPE_CHECKING:
    from fkd.store import LabelStore

_workers = click.option("--workers", default=CORES, help="Threads that read and write.")
_overwrite = click.option("--overwrite", is_flag=True, help="Replace a store that is there.")


@click.command(short_help="Copy a store, or some of its images and crops, in fewer bytes.")
@click.argument("store", type=STORE)
@click.argument("out", type=STORE)
@click.option(
    "--classes", type=PATH, help="Copy the images of these classes: a file, one name a line."
)
@click.option(
    "--images",
    "--subset",
    "subset",
    help="Copy a share, as 10%, of each class where images have classes, or the images of a file, one a "
    "line.",
)
@click.option("--crops", type=int, help="Copy so many crops of each image, the first ones.")
@click.option("--compress", help="Keep labels in fewer bytes: topk5, topk5-coarse, hard …")
@click.option(
    "--without",
    multiple=True,
    metavar="NAME",
    help="Leave the vectors of this name out, as `fkd info` lists them.",
)
@click.option(
    "--to",
    type=click.Choice(("store", "hub")),
    default="store",
    help="Write a store, or a folder to be uploaded to the Hugging Face hub: a card, a .zip.",
)
@click.option(
    "--license", help="Licence of the labels, for the card of --to hub: cc-by-4.0, other."
)
@_overwrite
@_workers
def copy(store: Path | Url, out: Path | Url, compress: str | None, to: str, **options: Any) -> None:
    """Copy STORE to OUT: all of it byte for byte, or what is chosen.

    Both may be a folder, a .zip or the address of one: s3://, gs://, and to read from https:// and hf://.
    Labels in another scheme are made of the stored ones: topk5 of topk10 or of full. Views stay what
    they were. A copy that is there already is continued.

    \b
    Example: fkd copy --classes birds.txt --crops 50 --compress topk5 labels.zarr birds.zarr
    In one file: fkd copy labels.zarr labels.zarr.zip
    For a hub: fkd copy labels.zarr my-labels --to hub --license cc-by-4.0
    """
    config = CopyConfig(
        store,
        out,
        Part(options["subset"], options["classes"]),
        options["crops"],
        None if compress is None else Scheme.parse(compress),
        options["workers"],
        options["overwrite"],
        options["without"],
    )
    from fkd.copying import check_inputs

    check_inputs([store], out, overwrite=config.overwrite)
    if to == "hub":
        made = _for_hub(config, options["license"])
    else:
        if options["license"] is not None:
            raise ConfigError("--license is for the card of --to hub; leave it out, or give that")
        from fkd.copying import copy_store

        made = copy_store(config)
    from fkd.copying import closing_words

    click.echo(printable(closing_words(made)))


def _for_hub(config: CopyConfig, license: str | None) -> "LabelStore":
    """Write a folder for a hub; return the store in it."""
    CardConfig(config.store, license=license)
    from fkd.publishing import check_repository

    check_repository(config.out, overwrite=config.overwrite)
    from fkd.publishing import write_hub_layout

    return write_hub_layout(config, license=license)


@click.command(short_help="Make one store of the images of several.")
@click.argument("stores", type=STORE, nargs=-1, required=True)
@click.option("--out", type=PATH, required=True, help="The new store.")
@_overwrite
@_workers
def merge(stores: tuple[Path | Url, ...], out: Path, **options: Any) -> None:
    """Make one store, OUT, of the images of all STORES.

    They were labelled alike, over the same classes, and share no image. A merge that was stopped is
    continued.

    \b
    Example: fkd merge first-half.zarr second-half.zarr --out labels.zarr
    """
    config = MergeConfig(stores, out, **options)
    from fkd.copying import check_inputs

    check_inputs(stores, out, overwrite=config.overwrite)
    from fkd.copying import closing_words, merge_stores

    click.echo(printable(closing_words(merge_stores(config))))


@click.command(
    cls=ManyNumbers,
    many="--weights",
    short_help="Make a store of the mean of several stores' labels.",
)
@click.argument("stores", type=STORE, nargs=-1, required=True)
@click.option(
    "--weights",
    type=float,
    multiple=True,
    help="What each store counts, in their order: --weights 0.7 0.3  [default: all alike]",
)
@click.option("--out", type=PATH, required=True, help="The new store.")
@click.option("--compress", help="How the mean is kept  [default: as in the first store]")
@_overwrite
@_workers
def average(stores: tuple[Path | Url, ...], compress: str | None, **options: Any) -> None:
    """Make a store, OUT, of the mean of the labels that STORES have of the same views.

    Of full labels it is the mean of the teachers' own. Of top-K labels a class that one store does not
    keep has there its share of the residual. An average that was stopped is continued.

    \b
    Example: fkd average a.zarr b.zarr --weights 0.7 0.3 --out both.zarr
    """
    scheme = None if compress is None else Scheme.parse(compress)
    config = AverageConfig(stores, scheme=scheme, **options)
    from fkd.copying import check_inputs

    check_inputs(stores, config.out, overwrite=config.overwrite)
    from fkd.copying import average_stores, closing_words

    click.echo(printable(closing_words(average_stores(config))))
