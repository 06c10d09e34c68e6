"""Metrics of a run, read from its file of JSON lines."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fkd.errors import ConfigError

METRICS = "metrics.jsonl"

# What a student may be judged by: the name of the share in metrics, and for people.
JUDGES = {"top1": "top-1", "knn": "kNN", "miou": "mIoU", "exact_match": "exact match"}


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


def judged_by(line: Mapping[str, Any], before: str = "") -> str | None:
    """Return what a student is judged by in a line of metrics, a name in `JUDGES`; None for nothing.

    `before` is what stands before the names of that student's numbers.
    """
    return next((name for name in JUDGES if f"{before}{name}" in line), None)


def _is_line(entry: object) -> bool:
    """Say whether a JSON value is a line of metrics: numbers by name, and its kind."""
    return (
        isinstance(entry, dict)
        and entry.get("kind") in ("train", "eval")
        and {"step", "epoch"} <= set(entry)
        and all(isinstance(value, (int, float)) for name, value in entry.items() if name != "kind")
    )
