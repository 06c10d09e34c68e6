"""Metrics of a run: a file of JSON lines, and TensorBoard where it is installed."""

import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fkd.errors import ConfigError

METRICS = "metrics.jsonl"

Tracker = Callable[[Mapping[str, Any]], None]


def open_tracker(folder: Path, after: int = 0) -> Tracker:
    """Return a function that takes lines of metrics.jsonl; without TensorBoard it does nothing.

    What an earlier process wrote of steps beyond `after` is forgotten.
    """
    if find_spec("tensorboard") is None:
        return lambda line: None
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=after + 1)

    def track(line: Mapping[str, Any]) -> None:
        for name, value in line.items():
            if isinstance(value, (int, float)) and name != "step":
                writer.add_scalar(f"{line['kind']}/{name}", value, line["step"])
        writer.flush()

    return track


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics; the end of one that is being written is left out."""
    try:
        text = (run / METRICS).read_text("utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(
            f"{run} is no run folder: it has no {METRICS}; name a folder that `fkd train` made"
        ) from error
    lines = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if _is_line(entry):
            lines.append(entry)
    return lines


def _is_line(entry: object) -> bool:
    """Say whether a JSON value is a line of metrics: numbers by name, and its kind."""
    return (
        isinstance(entry, dict)
        and entry.get("kind") in ("train", "eval")
        and {"step", "epoch"} <= set(entry)
        and all(isinstance(value, (int, float)) for name, value in entry.items() if name != "kind")
    )
