"""`fkd plot`: loss, accuracy and learning rate of runs in one picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fkd.errors import ConfigError
from fkd.training.metrics import read_metrics


def plot_runs(runs: Sequence[Path], out: Path) -> None:
    """Draw the curves of run folders into a PNG at `out`; needs matplotlib.

    Raises `ConfigError` for a folder that holds no run.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("plots need matplotlib: `pip install matplotlib`") from error
    read = [(run, read_metrics(run)) for run in runs]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    loss, accuracy, rate = figure.subplots(1, 3)
    for (run, lines), colour in zip(read, _colours(mpl, len(runs)), strict=True):
        train = [line for line in lines if line["kind"] == "train"]
        evaluated = [line for line in lines if line["kind"] == "eval"]
        _curve(loss, train, "loss", colour, run.name)
        _curve(accuracy, evaluated, "top1", colour, run.name, marker="o", scale=100)
        _curve(accuracy, evaluated, "ema_top1", colour, None, marker=".", style="--", scale=100)
        _curve(rate, train, "lr", colour, run.name)
    for axes, title in ((loss, "training loss"), (accuracy, "top-1, %"), (rate, "learning rate")):
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    if len(runs) > 1:
        loss.legend(frameon=False, fontsize="small")
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; name a .png file")
    try:
        figure.savefig(out, dpi=120)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--out {out} cannot be written ({error}); name a .png file") from error


def _colours(mpl: Any, count: int) -> list[Any]:
    return [mpl.colormaps["tab10"](n % 10) for n in range(count)]


def _curve(
    axes: Any,
    lines: Sequence[dict[str, Any]],
    name: str,
    colour: Any,
    label: str | None,
    *,
    marker: str = "",
    style: str = "-",
    scale: float = 1,
) -> None:
    points = [(line["epoch"], scale * line[name]) for line in lines if name in line]
    if points:
        epochs, values = zip(*points, strict=True)
        axes.plot(epochs, values, style, color=colour, label=label, marker=marker, linewidth=1.4)
