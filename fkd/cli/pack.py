"""`fkd pack`."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from fkd.cli.options import CORES, PATH
from fkd.config import Bound, PackConfig
from fkd.errors import ConfigError
from fkd.progress import printable

_PACK = {f.name: f.default for f in fields(PackConfig)}
_FEW = 5  # bad images that are named one by one


@click.command(short_help="Copy an image folder with large images made smaller.")
@click.argument("images", type=PATH)
@click.argument("out", type=PATH)
@click.option("--shortest", type=int, help="Most pixels of an image's shorter side  [default: 256]")
@click.option("--longest", type=int, help="Most pixels of its longer side, instead of --shortest.")
@click.option("--quality", default=_PACK["quality"], help="Quality of the JPEG files, 1 to 100.")
@click.option("--overwrite", is_flag=True, help="Empty a packed folder OUT, and start anew.")
@click.option("--workers", default=CORES, help="Threads that decode and encode.")
def pack(
    images: Path, out: Path, shortest: int | None, longest: int | None, **options: Any
) -> None:
    """Copy the image folder IMAGES to OUT with large images made smaller: they decode faster.

    OUT has the layout of IMAGES. Images within the bound are copied as they are, byte for byte, and so
    are those that cannot be decoded. A copy that is there already is continued.

    \b
    Example: fkd pack --shortest 256 imagenet/ imagenet-256/
    """
    if shortest is not None and longest is not None:
        raise ConfigError("--shortest and --longest are both given; choose one of them")
    bound: Bound = "shortest" if longest is None else "longest"
    given = longest if shortest is None else shortest
    config = PackConfig(
        images, out, bound, PackConfig.pixels if given is None else given, **options
    )
    from fkd.sources import dataset_root, require_images

    require_images(dataset_root(images))
    from fkd.packing import pack_images

    report = pack_images(config)
    for path, reason in report.bad[:_FEW]:
        click.echo(f"cannot be decoded: {printable(path)}: {reason}", err=True)
    if len(report.bad) > _FEW:
        click.echo(f"cannot be decoded: {len(report.bad) - _FEW:,} more", err=True)
    found = f", {report.found:,} there already" if report.found else ""
    click.echo(
        f"{out}: {report.packed:,} images packed, {report.copied:,} copied, {len(report.bad):,} bad"
        f"{found}; {report.bytes_before / 2**20:,.1f} MiB → {report.bytes_after / 2**20:,.1f} MiB"
    )
