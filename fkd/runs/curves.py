"""`fkd plot`: loss, accuracy and learning rate of runs in one picture."""

import json
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from fkd.config import as_path, fit
from fkd.errors import ConfigError, FkdError
from fkd.figures import COLOURS, GREY, INK, PAGE, drawable, figure_style, new_figure, shorten, write
from fkd.format import (
    to_json,
)
from fkd.runs.metrics import JUDGES, read_metrics
from fkd.store import (
    LabelStore,
)

_HEIGHT, _LEGEND_LINE = 2.3, 0.16  # inches

# What a store must have in common with that of a run for its teacher to be the run's.
_SAME = ("fingerprint", "num_classes", "num_crops", "teachers", "views")


def plot_runs(runs: str | Path | Sequence[str | Path], out: str | Path) -> None:
    """Draw the curves of one or several run folders into a picture at `out`, in the format of its name.

    A run of several students has curves of each. Beside the top-1 of the students stand that of guessing
    and, where a run's store still is where it was, how often its teacher names the folder's class on
    stored crops. Raises `ConfigError` for a folder that holds no run, and where matplotlib is missing.
    """
    folders = fit("runs", runs, tuple[Path, ...])
    if not folders:
        raise ConfigError("no run is given; name at least one run folder")
    _draw(folders, [read_metrics(folder) for folder in folders], as_path("out", out))


@figure_style()
def _draw(runs: Sequence[Path], metrics: Sequence[Sequence[dict[str, Any]]], out: Path) -> None:
    settings = [_read_settings(run) for run in runs]
    students = [_prefixes(lines) for lines in metrics]
    names = [
        name
        for run, prefixes, said in zip(runs, students, settings, strict=True)
        for name in _names(run, prefixes, said)
    ]
    lines = len(names) if len(names) > 1 else 0
    figure = new_figure(PAGE, _HEIGHT + _LEGEND_LINE * -(-lines // 3))
    loss, accuracy, rate = figure.subplots(1, 3)
    colours = cycle(COLOURS)
    for lines_of_run, prefixes in zip(metrics, students, strict=True):
        train = [line for line in lines_of_run if line["kind"] == "train"]
        evaluated = [line for line in lines_of_run if line["kind"] == "eval"]
        for prefix, colour in zip(prefixes, colours, strict=False):
            _curve(loss, train, f"{prefix}loss", colour)
            for judge in JUDGES:
                own, average = f"{prefix}{judge}", f"{prefix}ema_{judge}"
                _curve(accuracy, evaluated, own, colour, marker="o", scale=100)
                _curve(accuracy, evaluated, average, colour, marker=".", style="--", scale=100)
            if not prefix:
                _curve(rate, train, "lr", colour)
    judges = [judge for judge in JUDGES if any(_has(lines, judge) for lines in metrics)]
    _draw_bounds(accuracy, settings if "top1" in judges or not judges else [])
    averaged = any(_has(lines, f"ema_{judge}") for judge in judges for lines in metrics)
    measure = " or ".join(JUDGES[judge] for judge in judges) or JUDGES["top1"]
    titles = {
        loss: ("Training loss", "loss, nats"),
        accuracy: ("Evaluation" + (" (dashed: average)" if averaged else ""), f"{measure}, %"),
        rate: ("Learning rate", "learning rate"),
    }
    for axes, (title, name) in titles.items():
        axes.set(title=title, xlabel="epoch", ylabel=name)
        axes.grid()
    if len(names) > 1:
        _name_curves(figure, names)
    _save(figure, out)


def _has(lines: Sequence[dict[str, Any]], number: str) -> bool:
    """Say whether metrics have a number, of the first student or another."""
    return any(name == number or name.endswith(f"/{number}") for line in lines for name in line)


def _prefixes(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Return what stands before the metrics of each student of a run: nothing, and `NAME/` of others."""
    ends = {"eval": [f"/{judge}" for judge in JUDGES], "train": ["/loss"]}
    others = [
        name.removesuffix(end)
        for line in lines
        for name in line
        for end in ends[line["kind"]]
        if name.endswith(end)
    ]
    return ["", *dict.fromkeys(f"{name}/" for name in others)]


def _curve(
    axes: Any,
    lines: Sequence[dict[str, Any]],
    name: str,
    colour: str,
    *,
    marker: str = "",
    style: str = "-",
    scale: float = 1,
) -> None:
    points = [(line["epoch"], scale * line[name]) for line in lines if name in line]
    if points:
        epochs, values = zip(*points, strict=True)
        axes.plot(epochs, values, style, color=colour, marker=marker, markersize=3)


def _draw_bounds(axes: Any, settings: Sequence[Mapping[str, Any]]) -> None:
    """Draw what the top-1 of runs with these settings lies between: guessing, and their teachers'."""
    if not axes.lines:
        axes.set(xticks=[], yticks=[])
        where = {"transform": axes.transAxes, "ha": "center", "va": "center", "color": GREY}
        write(axes, 0.5, 0.5, "no evaluation yet", **where)
        return
    classes = sorted({count for one in settings if (count := _num_classes(one))})
    for count in classes:
        _bound(axes, 100 / count, f"chance, 1 in {count:,}", GREY, "right")
    teachers = {str(one.get("store")): share for one in settings if (share := _teacher(one))}
    for store, share in teachers.items():
        whose = f" ({shorten(Path(store).name, 20)})" if len(teachers) > 1 else ""
        _bound(axes, 100 * share, f"teacher on its crops{whose}", INK, "left")
    top = axes.get_ylim()[1]
    axes.set_ylim(0, min(108, max(top, 1.08 * max(line.get_ydata()[0] for line in axes.lines))))


def _bound(axes: Any, top1: float, text: str, colour: str, side: str) -> None:
    """Draw a line, its name on the side where the students' curves are far from it: they rise."""
    axes.axhline(top1, color=colour, linewidth=0.9, linestyle=(0, (4, 2)))
    beside, x = axes.get_yaxis_transform(), 0.99 if side == "right" else 0.01
    ground = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.6}
    name = write(axes, x, top1, text, transform=beside, ha=side, va="bottom", color=colour)
    name.set(fontsize=7, bbox=ground)


def _read_settings(run: Path) -> Mapping[str, Any]:
    """Return what a run's config.json says, or nothing: an old or a damaged one stops no picture."""
    try:
        settings = json.loads((run / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _spec(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = settings.get("store_spec")
    return spec if isinstance(spec, dict) else {}


def _num_classes(settings: Mapping[str, Any]) -> int:
    count = _spec(settings).get("num_classes")
    return count if isinstance(count, int) and count > 0 else 0


def _teacher(settings: Mapping[str, Any]) -> float | None:
    """Return how often the teacher of a run's store names the folder's class, if that is there."""
    try:
        store, then = LabelStore.open(str(settings.get("store", ""))), _spec(settings)
        if store.spec.num_crops > then["num_crops"]:  # it has grown
            store = store.of_first_crops(then["num_crops"])
        now = json.loads(json.dumps(to_json(store.spec)))
        if any(now[name] != then.get(name) for name in _SAME):
            return None
        from fkd.statistics import sampled_agreement  # reads labels, and so loads torch

        return sampled_agreement(store)
    except (FkdError, KeyError, OSError, TypeError):
        return None


def _names(run: Path, prefixes: Sequence[str], settings: Mapping[str, Any]) -> list[str]:
    """Return the name of a run, or of each of its students where it has several."""
    if len(prefixes) == 1:
        return [shorten(run.name, 40)]
    said = settings.get("student")
    first = said[0] if isinstance(said, list) and said else None
    first = first.get("name") if isinstance(first, dict) else None
    students = [str(first or "the first"), *(prefix.removesuffix("/") for prefix in prefixes[1:])]
    return [f"{shorten(run.name, 24)}, {shorten(student, 20)}" for student in students]


def _name_curves(figure: Any, names: Sequence[str]) -> None:
    """Name runs and students below the figure, as the letters of their folders say it."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour) for _, colour in zip(names, cycle(COLOURS))]
    # matplotlib leaves out what begins with an underscore.
    shown = [f"\u200a{drawable(name)}" for name in names]
    legend = figure.legend(handles, shown, loc="outside lower center", ncols=min(3, len(names)))
    for text in legend.get_texts():
        text.set_parse_math(False)


def _save(figure: Any, out: Path) -> None:
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; name a .png file")
    try:
        figure.savefig(out)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--out {out} cannot be written ({error}); name a .png file") from error
