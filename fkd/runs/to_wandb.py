"""Lines of metrics to Weights & Biases, or to its files in the folder `wandb` of the run."""

import contextlib
import importlib
import io
import os
import secrets
from typing import Any

from fkd.errors import ConfigError, FkdError, first_line
from fkd.runs.tracker import Line, Outcome, TrackedRun, scalars

_WITHOUT_LOGIN = ("offline", "dryrun", "disabled")

# Seconds between writes of its file: a run that is killed loses no more. wandb's own is 15.
_FLUSHED_EVERY = "x_transaction_log_flush_interval"

# Seconds that wandb goes on sending at the end; what it could not send stays in its folder.
_FINISHED_AFTER = 25.0


def require_usable() -> None:
    """Raise `ConfigError` for a wandb that is too old or broken, or would ask for a key.

    Nobody may be there to answer. No server is asked.
    """
    try:
        wandb: Any = importlib.import_module("wandb")
        if "finish_timeout" not in wandb.Settings.model_fields:
            raise ConfigError(
                f"--log wandb needs wandb 0.31 or newer, and {wandb.__version__} is installed; run "
                "`pip install --upgrade wandb`"
            )
        settings = wandb.setup().settings
        if settings.mode not in _WITHOUT_LOGIN and not _has_key(wandb, settings):
            raise ConfigError(
                "--log wandb: wandb is not logged in; run `wandb login`, or set WANDB_MODE=offline and "
                "`wandb sync` later"
            )
    except FkdError:
        raise
    except Exception as error:  # of its settings, its key or its installation
        raise ConfigError(
            f"--log wandb: wandb cannot be used ({_in_a_line(error)}); see to its installation and the "
            "variables WANDB_…, or leave it out"
        ) from error


def _has_key(wandb: Any, settings: Any) -> bool:
    """Say whether wandb knows a key.

    Unless it is silent, wandb asks the server whose key it is, and waits where there is no network.
    """
    silent, settings.silent = settings.silent, True
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return bool(wandb.login(prompt=False, verify=False))
    finally:
        settings.silent = silent


def _in_a_line(error: Exception) -> str:
    """Return what is wrong; of settings, pydantic's first line only counts them."""
    if not hasattr(error, "errors"):
        return first_line(error)
    return "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors(include_url=False))


class WeightsAndBiases:
    """A run of wandb. Environment variables of wandb come before what is chosen here."""

    def __init__(self, run: TrackedRun, run_id: str | None) -> None:
        """Begin a run, or go on with `run_id`; the caller's own run, if it has one, is left alone."""
        wandb: Any = importlib.import_module("wandb")
        settings: dict[str, Any] = {"console": "off", "silent": True, "reinit": "create_new"}
        settings["finish_timeout"] = _FINISHED_AFTER
        if _FLUSHED_EVERY in wandb.Settings.model_fields:
            settings[_FLUSHED_EVERY] = 1.0
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "fkd"),
            name=os.environ.get("WANDB_NAME", run.folder.resolve().name),
            dir=os.environ.get("WANDB_DIR", str(run.folder)),
            id=run_id or secrets.token_hex(8),
            resume="allow",
            config=dict(run.settings),
            allow_val_change=True,  # of settings that may differ when a run goes on
            settings=wandb.Settings(**settings),
        )
        self._run.define_metric("step", hidden=True)
        for kind in ("train", "eval"):
            self._run.define_metric(f"{kind}/*", step_metric="step")

    @property
    def run_id(self) -> str:
        """The identifier of the run in wandb."""
        return str(self._run.id)

    @property
    def where(self) -> str:
        """Its page or, of a run offline, the folder for `wandb sync`."""
        if self._run.disabled:
            return "nowhere, since WANDB_MODE is disabled"
        if self._run.offline:
            return f"`wandb sync {os.path.relpath(self._run.settings.sync_dir)}`"
        return str(self._run.url)

    def log(self, line: Line) -> None:
        """Hand the numbers of a line to wandb's own process.

        wandb drops a row whose step of its own is below the last. "step" is the one that counts, so a
        line that comes late is a row at the end, and stands at its step all the same.
        """
        row = max(line["step"], self._run.step)
        self._run.log({**scalars(line), "step": line["step"]}, step=row)

    def close(self, outcome: Outcome) -> None:
        """Wait for wandb to have all."""
        self._run.finish(exit_code=0 if outcome == "finished" else 1)
