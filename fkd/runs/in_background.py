"""Lines go to a service in a thread of its own: a network that is slow or gone costs training nothing."""

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from fkd.errors import first_line
from fkd.machine import write_whole
from fkd.progress import note
from fkd.runs.metrics import METRICS, read_metrics
from fkd.runs.tracker import Line, Outcome, Service

_PATIENCE = 30.0  # seconds that the end of a run waits for a service


class InBackground:
    """Gives each line of a run to a service once, in order, also over several processes.

    `NAME.json` in the run's folder has the service's identifier of the run and the last line that it got.
    A run that goes on gives the lines after that: those that an earlier process could not, and none that
    it gave already where steps are done again. A service that fails is left alone until the next one.
    """

    def __init__(self, name: str, folder: Path, opens: Callable[[str | None], Service]) -> None:
        """Open the service in the thread; `opens` takes the identifier of a run that goes on."""
        self._name, self._folder, self._opens = name, folder, opens
        self._coming: SimpleQueue[Line | Outcome] = SimpleQueue()
        self._looked_at = 0
        self._thread = threading.Thread(target=self._work, name=f"fkd-{name}", daemon=True)
        self._thread.start()

    def log(self, line: Line) -> None:
        """Leave a line to the thread."""
        if self._thread.is_alive():
            self._coming.put(line)

    def close(self, outcome: Outcome) -> None:
        """Wait until the service has all, but not long for one that takes nothing.

        A run that is finished waits while lines are taken; one that was stopped may have no time.
        """
        self._coming.put(outcome)
        before = -1
        while self._thread.is_alive() and before < self._looked_at:
            before = self._looked_at if outcome == "finished" else sys.maxsize
            self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            note(
                f"warning: {self._name} did not take everything in time; --resume sends it the rest of "
                f"{self._folder / METRICS}"
            )

    def _work(self) -> None:
        try:
            given = _Given(self._folder / f"{self._name}.json")
            service = self._opens(given.run_id)
            given.begin(service.run_id)
            note(f"metrics go to {self._name}: {service.where}")
            for line in read_metrics(self._folder):
                self._give(given, service, line)
            while not isinstance(coming := self._coming.get(), str):
                self._give(given, service, coming)
            service.close(coming)
        except Exception as error:  # the libraries raise what they like; no run ends of it
            note(
                f"warning: {self._name} cannot be written to ({first_line(error)}); the run goes on "
                f"without it, and --resume sends it what {METRICS} has"
            )

    def _give(self, given: "_Given", service: Service, line: Line) -> None:
        given.give(service, line)
        self._looked_at += 1


def lacks_lines(name: str, folder: Path) -> bool:
    """Say whether a service has not got all lines of the run in a folder."""
    given = _Given(folder / f"{name}.json")
    return any(given.lacks(line) for line in read_metrics(folder))


class _Given:
    """What a service has got: which run of its own it is, and the last line of metrics."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.run_id: str | None = None
        self._last = (-1, False)
        try:
            known = json.loads(path.read_text("utf-8"))
            last = int(known["step"]), bool(known["evaluated"])
            self.run_id, self._last = str(known["run"]), last
        except (OSError, ValueError, TypeError, KeyError):
            return  # none, or a file that is damaged: a new run of the service, with all lines

    def begin(self, run_id: str) -> None:
        """Remember the run before it gets a line."""
        self.run_id = run_id
        self._keep()

    def give(self, service: Service, line: Line) -> None:
        """Give a line, unless the service has it or a later one."""
        if self.lacks(line):
            service.log(line)
            self._last = _place(line)
            self._keep()

    def lacks(self, line: Line) -> bool:
        """Say whether the service has neither this line nor a later one."""
        return _place(line) > self._last

    def _keep(self) -> None:
        step, evaluated = self._last
        content = {"run": self.run_id, "step": step, "evaluated": evaluated}
        write_whole(self._path, json.dumps(content).encode(), durable=False)


def _place(line: Line) -> tuple[int, bool]:
    """Return what lines are in order by: of a step, training comes before its evaluation."""
    return line["step"], line["kind"] == "eval"
