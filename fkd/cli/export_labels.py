"""`fkd export-labels`."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from fkd.amounts import as_count
from fkd.cli.options import CORES, PATH
from fkd.orders import FKD_KINDS, FLOAT_TYPES, LABEL_FORMATS, ExportLabelsConfig
from fkd.progress import note_lines

_EXPORT = {f.name: f.default for f in fields(ExportLabelsConfig)}


@click.command("export-labels", short_help="Write the labels of a store for another program.")
@click.argument("store", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--format", type=click.Choice(LABEL_FORMATS), default=LABEL_FORMATS[0], help="What OUT becomes."
)
@click.option(
    "--kind",
    type=click.Choice(FKD_KINDS),
    help="What FKD calls its labels  [default: what says most of the store's]",
)
@click.option(
    "--dtype",
    type=click.Choice(FLOAT_TYPES),
    default=_EXPORT["dtype"],
    help="Type of the numbers; f2 halves them, and rounds boxes and probabilities.",
)
@click.option("--workers", default=CORES, help="Threads that write.")
def export_labels_(store: Path, out: Path, **options: Any) -> None:
    """Write the labels of STORE to OUT, for another program to train with.

    The format fkd is that of FKD's own code: a file an image, which its trainer reads as it is. An export
    that is there already is continued.

    \b
    Example: fkd export-labels --format fkd labels.zarr fkd-labels/
    """
    config = ExportLabelsConfig(store, out, **options)
    from fkd.format import require_store

    require_store(store)
    from fkd.exchanging import export_labels

    report = export_labels(config)
    lines = []
    if report.found:
        lines.append(("found", f"{as_count(report.found, 'file')} of an earlier run"))
    if report.unlabelled:
        lines.append(("left out", f"{as_count(report.unlabelled, 'image')} without labels"))
    if report.moved:
        moved = as_count(report.moved, "file")
        lines.append(("boxes", f"float16 moves boxes by a pixel in {moved}; --dtype f4 does not"))
    if not report.sorted_ids:
        lines.append(
            (
                "warning",
                "class ids are in the order of classes.txt; FKD's trainer numbers class folders by name",
            )
        )
    kind = f"--softlabel_path {report.folder} --soft_label_type {report.kind}"
    lines.append(("next", f"give FKD's train_FKD.py {kind}"))
    note_lines(lines)
    click.echo(f"{report.folder}: {as_count(report.written + report.found, 'file')}, {report.kind}")
