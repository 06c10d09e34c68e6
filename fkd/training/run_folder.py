"""The folder of a run: it is made for a new run, and found again by a run that goes on.

A run folder has config.json, metrics.jsonl (one JSON object a line), last.pt, previous.pt and best.pt.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fkd.config import Selection, TrainConfig
from fkd.errors import ConfigError
from fkd.loader import Schedule
from fkd.machine import held, write_whole
from fkd.progress import note
from fkd.students import Checkpoint, newest_checkpoint
from fkd.training.metrics import METRICS, read_metrics
from fkd.training.run import Run

CONFIG = "config.json"

# What may differ when a run goes on: where things are and who does the work, not what is computed.
_FREE = {"store", "images", "val", "out", "resume", "workers", "device", "render"}
_FREE |= {"save_every", "eval_every", "eval_last", "num_ranks"}

# Settings that an older fkd did not write into config.json, with the values by which it trained.
_LATER = {**asdict(Selection()), "stagger": 0}

_FLAGS = {name: f"--{name.replace('_', '-')}" for name in TrainConfig().settings()}


@contextmanager
def open_run(config: TrainConfig, schedule: Schedule, about: Mapping[str, Any]) -> Iterator[Run]:
    """Make the run's folder or, with `--resume`, find it; keep other processes out of it.

    config.json holds the settings of `config` and what `about` adds to them. Raises `ConfigError` for a
    folder that is in use, and for one that holds a run of other settings.
    """
    folder = _choose(config)
    _holds_run(folder, config)  # refuses a folder of something else before anything is made
    _make(folder)
    settings = {**config.settings(), **about}
    busy = ConfigError(f"another `fkd train` is at work in {folder}; wait for it or stop it")
    with held(folder, busy, "fkd train"):
        checkpoint = None
        if _holds_run(folder, config):  # asked again: another process may have been faster
            checkpoint = _go_on(folder, settings)
        else:
            if config.resume:
                note(f"{folder} holds no run yet: training starts at the beginning")
            _write_config(folder, settings)
        yield Run(folder, schedule, checkpoint)


def _choose(config: TrainConfig) -> Path:
    """Return `--out` or, without one, a folder runs/STUDENT-SCHEME-mM-NUMBER.

    The number is the highest that exists for a run that goes on, and the next one for a new run.
    """
    if config.out:
        return config.out
    student = config.student.replace(":", "-").replace("/", "-")
    stem = f"{student}-{config.scheme}-m{config.crops_per_image}-"
    names = [path.name for path in Path("runs").glob("*") if path.name.startswith(stem)]
    numbers = [int(name[len(stem) :]) for name in names if name[len(stem) :].isdecimal()]
    number = max(numbers) if config.resume and numbers else max(numbers, default=0) + 1
    return Path("runs") / f"{stem}{number}"


def _holds_run(folder: Path, config: TrainConfig) -> bool:
    """Say whether the folder holds a run to go on with; refuse one that holds anything else."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; choose a new folder")
    if config.resume and (folder / CONFIG).is_file():
        return True
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(
            f"--out {folder} exists and is not empty; choose a new folder"
            + ("" if config.resume else ", or add --resume to go on with the run in it")
        )
    return False


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {folder} cannot be made ({error})") from error


def _write_config(folder: Path, settings: Mapping[str, Any]) -> None:
    try:
        write_whole(folder / CONFIG, (json.dumps(settings, indent=2) + "\n").encode())
    except OSError as error:
        raise ConfigError(f"--out {folder} cannot be made ({error})") from error


def _go_on(folder: Path, settings: Mapping[str, Any]) -> Checkpoint | None:
    """Return the newest checkpoint of the run in `folder`, which must have the same settings."""
    before = _read_config(folder)
    _refuse_other_settings(folder, before, settings)
    if before.get("num_ranks") != settings["num_ranks"]:
        note(
            f"{folder} was begun by {before.get('num_ranks')} processes, {settings['num_ranks']} go on: "
            "batch norm and mixing see other shares, so the weights will not be those of a run without a "
            "stop"
        )
    checkpoint = newest_checkpoint(folder)
    _drop_metrics_after(folder, checkpoint)
    return checkpoint


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = _LATER | json.loads((folder / CONFIG).read_text("utf-8"))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{folder / CONFIG} is damaged ({error}); start a new run") from error
    return settings


def _refuse_other_settings(
    folder: Path, before: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    for name, value in json.loads(json.dumps(settings)).items():
        if name not in _FREE and before.get(name) != value:
            setting = _FLAGS.get(name, name.replace("_", " "))
            raise ConfigError(
                f"{folder} was started with other settings: {setting} is {_short(value)}, the run has "
                f"{_short(before.get(name))}; use the same to go on with it, or another --out"
            )


def _short(value: object) -> str:
    text = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
    return text if len(text) < 60 else text[:57] + "…"


def _drop_metrics_after(folder: Path, checkpoint: Checkpoint | None) -> None:
    """Drop the lines of metrics that are newer than the checkpoint: those steps are done again."""
    path = folder / METRICS
    if not path.is_file():
        return
    step, evaluated = (0, True) if checkpoint is None else (checkpoint.step, checkpoint.evaluated)
    kept = []
    for line in read_metrics(folder):
        evaluated_again = line["kind"] == "eval" and not evaluated
        if line["step"] < step + (0 if evaluated_again else 1):
            kept.append(json.dumps(line) + "\n")
    write_whole(path, "".join(kept).encode())
