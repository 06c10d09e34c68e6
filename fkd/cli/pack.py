"""`fkd pack`."""

import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from fkd.amounts import as_bytes, as_count
from fkd.cli.options import CORES, PATH, splitting
from fkd.config import LabelConfig
from fkd.errors import ConfigError
from fkd.orders import PACK_TO, Bound, PackConfig
from fkd.progress import note_lines, printable

_PACK = {f.name: f.default for f in fields(PackConfig)}
_FEW = 5  # bad images that are named one by one


@click.command(short_help="Copy images to a folder or tar shards, large ones made smaller.")
@click.argument("images", type=PATH)
@click.argument("out", type=PATH)
@click.option("--shortest", type=int, help="Most pixels of an image's shorter side  [default: 256]")
@click.option("--longest", type=int, help="Most pixels of its longer side, instead of --shortest.")
@click.option("--full-size", is_flag=True, help="Copy all images as they are.")
@click.option("--quality", default=_PACK["quality"], help="Quality of the JPEG files, 1 to 100.")
@click.option(
    "--to",
    type=click.Choice(PACK_TO),
    default=_PACK["to"],
    show_default=True,
    help="Write files in class folders, or tar shards, which WebDataset reads too.",
)
@click.option(
    "--shard-size",
    default=PackConfig.shard_bytes / 1e6,
    show_default="1000",
    help="Megabytes of the source that go into a shard, with --to tar.",
)
@click.option("--unlabelled", is_flag=True, help="Take images at any depth, without classes.")
@splitting
@click.option("--overwrite", is_flag=True, help="Empty a packed folder OUT, and start anew.")
@click.option("--workers", default=CORES, help="Threads that decode and encode.")
def pack(
    images: Path,
    out: Path,
    shortest: int | None,
    longest: int | None,
    full_size: bool,
    shard_size: float,
    **options: Any,
) -> None:
    """Copy IMAGES to OUT with large images made smaller: they decode faster.

    IMAGES is a folder, a tar or zip archive, parquet, a list, or a folder of such files. OUT has class
    folders, or shards, and train and val apart where IMAGES has both. Masks beside images are made as
    small as these, and texts of lines go along. Images within the bound are copied as they are, byte
    for byte, and so are those that cannot be decoded. A copy that is there already is continued.

    \b
    Example: fkd pack --shortest 256 imagenet/ imagenet-256/
    """
    bounds = {"--shortest": shortest, "--longest": longest, "--full-size": full_size or None}
    both = [flag for flag, given in bounds.items() if given is not None]
    if len(both) > 1:
        raise ConfigError(f"{both[0]} and {both[1]} are both given; choose one of them")
    if options["to"] != "tar" and shard_size * 1e6 != PackConfig.shard_bytes:
        raise ConfigError("--shard-size does nothing without --to tar; add --to tar")
    bound: Bound = "shortest" if longest is None else "longest"
    pixels = next((given for given in (shortest, longest) if given is not None), PackConfig.pixels)
    config = PackConfig(
        images,
        out,
        bound,
        None if full_size else pixels,
        shard_bytes=round(shard_size * 1e6),
        **options,
    )
    from fkd.sources import dataset_root, require_images
    from fkd.truth import lined_root, masked_root

    split = "train" if config.split else None
    # Those that have texts or masks need no classes.
    if config.unlabelled or not (lined_root(images, split) or masked_root(images, split)):
        root = dataset_root(images, split=config.split, unlabelled=config.unlabelled)
        require_images(root, unlabelled=config.unlabelled)
    from fkd.packing import pack_images

    report = pack_images(config)
    for path, reason in report.bad[:_FEW]:
        click.echo(f"cannot be used: {printable(path)}: {reason}", err=True)
    if len(report.bad) > _FEW:
        click.echo(f"cannot be used: {len(report.bad) - _FEW:,} more", err=True)
    if report.bad:
        click.echo(_of_bad(len(report.bad)), err=True)
    found = f", {report.found:,} there already" if report.found else ""
    click.echo(
        f"{out}: {as_count(report.packed, 'image')} packed, {report.copied:,} copied, "
        f"{len(report.bad):,} bad{found}; {as_bytes(report.bytes_before)} → "
        f"{as_bytes(report.bytes_after)}"
    )
    given = {"--unlabelled": config.unlabelled, "--no-split": not config.split}
    flags = "".join(f"{flag} " for flag, on in given.items() if on)
    note_lines([("next", f"fkd label --teacher TEACHER {flags}{shlex.quote(str(out))}")])


def _of_bad(count: int) -> str:
    """Say what becomes of images that cannot be used: of their files, and when these are labelled."""
    files = "the file of 1 bad image is copied as it is"
    if count > 1:
        files = f"the files of {count:,} bad images are copied as they are"
    return (
        f"warning: {files}; `fkd label` leaves bad images out, and stops where they are more than "
        f"{LabelConfig.max_bad:.0%} of all (--max-bad)"
    )
