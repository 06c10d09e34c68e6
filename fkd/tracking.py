"""Metrics for TensorBoard, where it is installed."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Tracker = Callable[[Mapping[str, Any]], None]


def open_tracker(folder: Path) -> Tracker:
    """Return a function that takes lines of metrics.jsonl; without TensorBoard it does nothing."""
    if find_spec("tensorboard") is None:
        return lambda line: None
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))

    def track(line: Mapping[str, Any]) -> None:
        for name, value in line.items():
            if isinstance(value, (int, float)) and name != "step":
                writer.add_scalar(f"{line['kind']}/{name}", value, line["step"])
        writer.flush()

    return track
