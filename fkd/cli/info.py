"""`fkd info`."""

from pathlib import Path

import click

from fkd.cli.options import PATH
from fkd.config import LabelConfig
from fkd.progress import printable


@click.command(short_help="Say on one screen what a store holds.")
@click.argument("store", type=PATH, default=LabelConfig.out)
def info(store: Path) -> None:
    """Say on one screen what STORE (default labels.zarr) holds.

    \b
    Example: fkd info labels.zarr
    """
    from fkd.statistics import info_lines

    for name, text in info_lines(store):
        click.echo(f"{name:<9} {printable(text)}")
