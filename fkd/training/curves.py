"""`fkd plot`: loss, accuracy and learning rate of runs in one picture."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from fkd.config import as_path, fit
from fkd.errors import ConfigError
from fkd.figures import COLOURS, PAGE, figure_style, new_figure
from fkd.training.metrics import read_metrics


def plot_runs(runs: str | Path | Sequence[str | Path], out: str | Path) -> None:
    """Draw the curves of one or several run folders into a PNG at `out`.

    Raises `ConfigError` for a folder that holds no run, and where matplotlib is missing.
    """
    folders = fit("runs", runs, tuple[Path, ...])
    if not folders:
        raise ConfigError("no run is given; name at least one run folder")
    _draw(folders, [read_metrics(folder) for folder in folders], as_path("out", out))


@figure_style()
def _draw(runs: Sequence[Path], metrics: Sequence[Sequence[dict[str, Any]]], out: Path) -> None:
    figure = new_figure(PAGE, 2.1)
    loss, accuracy, rate = figure.subplots(1, 3)
    for run, lines, colour in zip(runs, metrics, cycle(COLOURS)):
        train = [line for line in lines if line["kind"] == "train"]
        evaluated = [line for line in lines if line["kind"] == "eval"]
        _curve(loss, train, "loss", colour, run.name)
        _curve(accuracy, evaluated, "top1", colour, run.name, marker="o", scale=100)
        _curve(accuracy, evaluated, "ema_top1", colour, None, marker=".", style="--", scale=100)
        _curve(rate, train, "lr", colour, run.name)
    for axes, title in ((loss, "training loss"), (accuracy, "top-1, %"), (rate, "learning rate")):
        axes.set(title=title, xlabel="epoch")
        axes.grid()
    if len(runs) > 1:
        loss.legend()
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; name a .png file")
    try:
        figure.savefig(out)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--out {out} cannot be written ({error}); name a .png file") from error


def _curve(
    axes: Any,
    lines: Sequence[dict[str, Any]],
    name: str,
    colour: str,
    label: str | None,
    *,
    marker: str = "",
    style: str = "-",
    scale: float = 1,
) -> None:
    points = [(line["epoch"], scale * line[name]) for line in lines if name in line]
    if points:
        epochs, values = zip(*points, strict=True)
        axes.plot(epochs, values, style, color=colour, label=label, marker=marker)
