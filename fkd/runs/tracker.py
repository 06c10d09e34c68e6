"""What a tracker is: one small interface to whatever shows a run beside its metrics.jsonl."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

Line = Mapping[str, Any]  # of metrics.jsonl: "kind", "step" and numbers by name

Outcome = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run: its folder, and its settings as config.json has them.

    `after` is the step of the checkpoint that the run goes on from, 0 for a run that begins.
    """

    folder: Path
    settings: Mapping[str, Any]
    after: int = 0


class Tracker(Protocol):
    """Takes the lines of metrics.jsonl as they are written, and hears how the run ended."""

    def log(self, line: Line) -> None:
        """Take a line; what goes wrong is raised, as whatever error the library has for it."""

    def close(self, outcome: Outcome) -> None:
        """Finish what was begun; no line follows."""


class Service(Tracker, Protocol):
    """A tracker that keeps runs in a place of its own, each under an identifier."""

    @property
    def run_id(self) -> str:
        """Under which the service finds the run again."""

    @property
    def where(self) -> str:
        """Where a person finds it."""


def scalars(line: Line) -> dict[str, float]:
    """Return the numbers of a line by their names in every tracker, such as "train/loss"."""
    return {
        f"{line['kind']}/{name}": float(value)
        for name, value in line.items()
        if isinstance(value, (int, float)) and name != "step"
    }
