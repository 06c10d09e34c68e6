"""`fkd plot`."""

from pathlib import Path

import click

from fkd.cli.options import PATH


@click.command(short_help="Draw loss, top-1 and learning rate of runs into a PNG.")
@click.argument("runs", type=PATH, nargs=-1, required=True, metavar="RUN...")
@click.option("--out", type=PATH, help="The picture  [default: curves.png in the first run]")
def plot(runs: tuple[Path, ...], out: Path | None) -> None:
    """Draw loss, top-1 and learning rate of one or several run folders into a PNG.

    \b
    Example: fkd plot runs/resnet50-topk5-m4-1 runs/resnet50-topk5-m4-2 --out both.png
    """
    from fkd.runs import plot_runs

    out = out or runs[0] / "curves.png"
    plot_runs(runs, out)
    click.echo(str(out))
