"""Lines of metrics to MLflow: to a tracking server, or to wherever MLFLOW_TRACKING_URI says."""

import importlib
import json
import os
import time
from typing import Any

from fkd.errors import ConfigError, first_line
from fkd.runs.tracker import Line, Outcome, TrackedRun, scalars

_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}

# What a server takes: a request holds so many parameters, one so many characters (as of MLflow 2.0).
_PARAMS_AT_ONCE, _PARAM_LENGTH = 100, 500


_SERVERS = ("http://", "https://", "databricks", "uc:")


def require_usable() -> None:
    """Raise `ConfigError` where MLflow cannot keep runs in this machine's files; no server is asked."""
    place = "its files"
    try:
        mlflow: Any = importlib.import_module("mlflow")
        place = str(mlflow.get_tracking_uri())
        if not place.startswith(_SERVERS):
            mlflow.MlflowClient().search_experiments(max_results=1)
    except Exception as error:  # MLflow raises what it likes
        raise ConfigError(
            f"--log mlflow cannot write to {place} ({first_line(error)}); set MLFLOW_TRACKING_URI to a "
            "server or another place, or install all of MLflow with `pip install mlflow`"
        ) from error


class MLflow:
    """A run of MLflow, through a client of its own: the caller's active run is left alone."""

    def __init__(self, run: TrackedRun, run_id: str | None) -> None:
        """Begin a run of the experiment, or go on with `run_id`."""
        mlflow: Any = importlib.import_module("mlflow")
        self._metric = mlflow.entities.Metric
        self._client = mlflow.MlflowClient()
        if run_id is None:
            self._id = self._begin(run, mlflow.entities.Param)
        else:
            self._id = run_id
            self._client.update_run(run_id, status="RUNNING")

    def _begin(self, run: TrackedRun, param: Any) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "fkd")
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        made = self._client.create_run(experiment, run_name=run.folder.resolve().name)
        run_id = str(made.info.run_id)
        params = [param(key, _as_text(value)) for key, value in run.settings.items()]
        for first in range(0, len(params), _PARAMS_AT_ONCE):
            self._client.log_batch(run_id, params=params[first : first + _PARAMS_AT_ONCE])
        return run_id

    @property
    def run_id(self) -> str:
        """The identifier of the run in MLflow."""
        return self._id

    @property
    def where(self) -> str:
        """The server or place, and the run there."""
        return f"{self._client.tracking_uri}, run {self._id}"

    def log(self, line: Line) -> None:
        """Send the numbers of a line in one request."""
        now = round(1000 * time.time())
        metrics = [self._metric(k, v, now, line["step"]) for k, v in scalars(line).items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self, outcome: Outcome) -> None:
        """Set the status of the run."""
        self._client.set_terminated(self._id, _STATUS[outcome])


def _as_text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _PARAM_LENGTH else text[: _PARAM_LENGTH - 1] + "…"
