"""`fkd show`."""

from dataclasses import fields
from typing import Any

import click

from fkd.cli.options import PATH, STORE
from fkd.orders import FIGURE_FORMATS, ShowConfig

_SHOW = {f.name: f.default for f in fields(ShowConfig)}


@click.command(short_help="Make a web page and figures of what a store holds.")
@click.argument("store", type=STORE, default=_SHOW["store"])
@click.option("--out", type=PATH, help="Folder to write  [default: labels-show for labels.zarr]")
@click.option("--images", type=PATH, help="The labelled images  [default: where the store says]")
@click.option(
    "--against", type=STORE, help="Another store of the same crops, by another teacher, to compare."
)
@click.option(
    "--class-names",
    type=PATH,
    help="A text file with a name to read for each class: names in order, or lines of folder and name.",
)
@click.option("--samples", default=_SHOW["samples"], help="Images that are drawn.")
@click.option(
    "--image",
    "chosen",
    multiple=True,
    metavar="PATH",
    help="An image to draw, in the image folder, instead of --samples; may be repeated.",
)
@click.option("--crops", default=_SHOW["crops"], help="Crops that are drawn of each.")
@click.option("--seed", default=_SHOW["seed"], help="Which images are drawn.")
@click.option(
    "--format",
    "formats",
    type=click.Choice(FIGURE_FORMATS),
    multiple=True,
    default=_SHOW["formats"],
    help="Of the figures beside the page; may be repeated. PNG is always there.",
)
def show(**options: Any) -> None:
    """Make a web page and figures of what STORE (default labels.zarr) holds. Needs matplotlib.

    The page is one file without scripts, and asks the network for nothing. It has images with their boxes
    and crops, how sure the teacher is, its agreement with the folder's classes and the classes that it
    confuses, the crops that it is least sure of and those on which it is sure of another class, and the
    size by part. An unfinished store is shown as far as it goes.

    \b
    Example: fkd show labels.zarr --class-names names.txt --format pdf
    """
    config = ShowConfig(**options)
    from fkd.format import (
        require_store,
    )

    for store in (config.store, config.against):
        if store is not None:
            require_store(store)
    from fkd.showing import show_store

    click.echo(str(show_store(config)))
