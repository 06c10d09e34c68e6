"""`fkd info`."""

from pathlib import Path

import click

from fkd.cli.options import STORE
from fkd.config import LabelConfig, Url
from fkd.progress import printable


@click.command(short_help="Say on one screen what a store holds.")
@click.argument("store", type=STORE, default=LabelConfig.out)
def info(store: Path | Url) -> None:
    """Say on one screen what STORE (default labels.zarr) holds: a folder, a .zip or an address of either.

    \b
    Example: fkd info labels.zarr
    """
    from fkd.info import info_lines

    for name, text in info_lines(store):
        click.echo(f"{name:<9} {printable(text)}")
