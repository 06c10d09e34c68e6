"""Where the metrics of a run go beside metrics.jsonl, and how a tracker that fails is left behind."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Thread

from fkd.config import NO_LOG
from fkd.errors import ConfigError, Stopped, first_line
from fkd.progress import note
from fkd.runs.tracker import Line, Outcome, TrackedRun, Tracker

Log = Sequence[str] | None


def require_trackers(log: Log) -> None:
    """Refuse a tracker that is not installed, or cannot be used; raises `ConfigError`."""
    for name in _named(log):
        if not _installed(name):
            raise ConfigError(f"--log {name} needs {name}; install it with `pip install {name}`")
        if name in _USABLE:
            _USABLE[name]()


@contextmanager
def tracked(log: Log, run: TrackedRun) -> Iterator["Trackers"]:
    """Give the trackers of a run; they hear how it ended. None for `log` is TensorBoard, if installed."""
    trackers = Trackers({name: _OPEN[name] for name in _named(log)}, run)
    outcome: Outcome = "failed"
    try:
        yield trackers
        outcome = "finished"
    except (Stopped, KeyboardInterrupt):
        outcome = "stopped"
        raise
    finally:
        trackers.close(outcome)


class Trackers:
    """Trackers are opened when the first line comes; one that fails gets no further line."""

    def __init__(
        self, openers: Mapping[str, Callable[[TrackedRun], Tracker]], run: TrackedRun
    ) -> None:
        self._waiting, self._run = dict(openers), run
        self._open: dict[str, Tracker] = {}

    def log(self, line: Line) -> None:
        """Give a line to each of them."""
        for name in list(self._waiting):
            opens = self._waiting.pop(name)
            with self._left_behind_if_it_fails(name):
                self._open[name] = opens(self._run)
        for name, tracker in list(self._open.items()):
            with self._left_behind_if_it_fails(name):
                tracker.log(line)

    def catch_up(self) -> None:
        """Open the services that lack lines of a run that has no more: opening sends them."""
        for name, opens in self._waiting.items():
            with self._left_behind_if_it_fails(name):
                if _lacks_lines(name, self._run):
                    self._open[name] = opens(self._run)
        self._waiting.clear()

    def close(self, outcome: Outcome) -> None:
        """Let all of them finish, at the same time: each may wait for a network."""

        def finish(name: str, tracker: Tracker) -> None:
            with self._left_behind_if_it_fails(name):
                tracker.close(outcome)

        closing = [Thread(target=finish, args=each) for each in list(self._open.items())]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()

    @contextmanager
    def _left_behind_if_it_fails(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the libraries raise what they like; no run ends of it
            self._open.pop(name, None)
            note(
                f"warning: {name} cannot be written to ({first_line(error)}); the run goes on without it"
            )


def _named(log: Log) -> list[str]:
    if log is None:
        return ["tensorboard"] if _installed("tensorboard") else []
    return [name for name in dict.fromkeys(log) if name != NO_LOG]


def _installed(name: str) -> bool:
    """Say whether a package is there; a folder of that name, such as a tracker writes, is none."""
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


def _lacks_lines(name: str, run: TrackedRun) -> bool:
    """Say whether a service lacks lines; TensorBoard's files are written with metrics.jsonl."""
    from fkd.runs.in_background import lacks_lines

    return name != "tensorboard" and lacks_lines(name, run.folder)


def _tensorboard(run: TrackedRun) -> Tracker:
    from fkd.runs.to_tensorboard import TensorBoard

    return TensorBoard(run)


def _wandb(run: TrackedRun) -> Tracker:
    from fkd.runs.in_background import InBackground
    from fkd.runs.to_wandb import WeightsAndBiases

    return InBackground("wandb", run.folder, lambda run_id: WeightsAndBiases(run, run_id))


def _mlflow(run: TrackedRun) -> Tracker:
    from fkd.runs.in_background import InBackground
    from fkd.runs.to_mlflow import MLflow

    return InBackground("mlflow", run.folder, lambda run_id: MLflow(run, run_id))


def _wandb_is_usable() -> None:
    from fkd.runs.to_wandb import require_usable

    require_usable()


def _mlflow_is_usable() -> None:
    from fkd.runs.to_mlflow import require_usable

    require_usable()


_USABLE = {"wandb": _wandb_is_usable, "mlflow": _mlflow_is_usable}

_OPEN: dict[str, Callable[[TrackedRun], Tracker]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
