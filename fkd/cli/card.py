"""`fkd card`."""

from pathlib import Path
from typing import Any

import click

from fkd.cli.options import PATH, STORE
from fkd.config import Url
from fkd.errors import ConfigError
from fkd.orders import CardConfig


@click.command(short_help="Write a card of a label set, for whoever finds it on a hub.")
@click.argument("store", type=STORE, default=Path("labels.zarr"))
@click.option(
    "--run", type=PATH, help="A run of fkd train on this store, as a baseline for others."
)
@click.option("--license", help="Licence of the labels, as the hub names it: cc-by-4.0, other.")
@click.option("--title", help="What the set is called  [default: by teacher and number of images]")
@click.option("--source", help="Which images these are, and where they are to be had, in words.")
@click.option("--out", type=PATH, help="The file to write, such as README.md  [default: stdout]")
@click.option("--overwrite", is_flag=True, help="Replace the file of --out.")
def card(store: Path | Url, out: Path | None, overwrite: bool, **options: Any) -> None:
    """Write a card of STORE (default labels.zarr): Markdown, with the head that the hub reads.

    It says who labelled which images and crops, what is kept, how near that is to the teacher and how
    often it is right, how to use and to cite the set. It names no folder of this
    machine. The Hugging Face hub shows it, and reads its head.

    \b
    Example: fkd card labels.zarr --license cc-by-4.0 --out README.md
    """
    config = CardConfig(store, **options)
    from fkd.format import require_store

    require_store(store)
    if out is not None and out.exists() and not overwrite:
        raise ConfigError(f"--out {out} is there already; name another file, or give --overwrite")
    if out is not None and any(
        (folder / "zarr.json").exists() for folder in out.absolute().parents
    ):
        raise ConfigError(
            f"--out {out} lies in a label store, which holds nothing else; name a file beside it"
        )
    from fkd.machine import write_whole
    from fkd.publishing import store_card

    text = store_card(config)
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, text.encode())
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written ({error})") from error
    click.echo(str(out))
