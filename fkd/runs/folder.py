"""The folder of a run: it is made for a new run, and found again by a run that goes on.

A run folder has config.json, recipe.toml, metrics.jsonl (one JSON object a line), last.pt, previous.pt
and best.pt.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fkd.amounts import as_count
from fkd.config import CONFIG, Part, Selection, TrainConfig, crops_before, read_config
from fkd.errors import ConfigError
from fkd.loader import Schedule
from fkd.machine import held, write_whole
from fkd.progress import note
from fkd.runs.metrics import METRICS, read_metrics
from fkd.runs.place import folder_of, holds_run, near_run, refuse_other_store
from fkd.runs.run import Run
from fkd.runs.tracker import TrackedRun
from fkd.runs.tracking import tracked
from fkd.students import Checkpoint, newest_checkpoint

# The settled recipe of a run, for `--recipe`. A run that goes on leaves it as it is.
RECIPE = "recipe.toml"

# What may differ when a run goes on: where things are and who does the work, not what is computed.
_FREE = {"store", "images", "drop_missing", "val", "out", "resume", "workers", "device", "render"}
_FREE |= {
    "save_every",
    "eval_every",
    "eval_last",
    "eval_size",
    "eval_crop",
    "num_ranks",
    "bn_stats",
    "log",
}
_FREE |= {*asdict(Part())}  # `chosen_images` says what they chose, wherever their files are

# Settings that an older fkd did not write into config.json, with the values by which it trained.
_LATER = {**asdict(Selection()), "stagger": 0, "init_ema": False, "chosen_images": "all"}
_LATER |= {"missing_images": "none", "size": None, "size_multiple": 32, "interpolation": None}

_FLAGS = {name: f"--{name.replace('_', '-')}" for name in TrainConfig().settings()}
_FLAGS["missing_images"] = "what --drop-missing leaves out"
_FLAGS["num_crops"] = "--crops"
_FLAGS["chosen_images"] = "what --subset and --classes choose"

# What parts of a store are called, beside those whose names are words.
_PARTS = {"fingerprint": "list of images", "created": "date"}


@contextmanager
def open_run(config: TrainConfig, schedule: Schedule, about: Mapping[str, Any]) -> Iterator[Run]:
    """Make the run's folder or, with `--resume`, find it; keep other processes out of it.

    config.json holds the settings of `config` and what `about` adds to them. Raises `ConfigError` for a
    folder that is in use, and for one that holds a run of other settings.
    """
    folder = folder_of(config)
    holds_run(folder, config)  # refuses a folder of something else before anything is made
    _make(folder)
    settings = {**config.settings(), **about}
    busy = ConfigError(f"another `fkd train` is at work in {folder}; wait for it or stop it")
    with held(folder, busy, "fkd train"):
        checkpoint = None
        if holds_run(folder, config):  # asked again: another process may have been faster
            checkpoint = _go_on(folder, settings)
        else:
            if config.resume:
                near = near_run(folder)
                instead = "" if near is None else f" ({near} does)"
                note(f"{folder} holds no run yet{instead}: training starts at the beginning")
            _write_config(folder, settings)
            _write_recipe(folder, config)
        after = 0 if checkpoint is None else checkpoint.step
        with tracked(config.log, TrackedRun(folder, settings, after)) as trackers:
            yield Run(folder, schedule, checkpoint, trackers)


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


def _write_recipe(folder: Path, config: TrainConfig) -> None:
    """Write what is published of a run's settings: the recipe, without places and machines."""
    try:
        write_whole(folder / RECIPE, config.recipe_text(machine=False).encode())
    except OSError as error:
        raise ConfigError(f"{folder / RECIPE} cannot be written ({error}); make room") from error


def _go_on(folder: Path, settings: Mapping[str, Any]) -> Checkpoint | None:
    """Return the newest checkpoint of the run in `folder`, which must have the same settings."""
    before = _LATER | read_config(folder)
    before["num_crops"] = crops_before(before)
    refuse_other_store(folder, before, settings["store"], settings["store_spec"])
    _refuse_other_settings(folder, before, settings)
    if before.get("num_ranks") != settings["num_ranks"]:
        note(
            f"{folder} was begun by {as_count(before.get('num_ranks', 1), 'process')}, "
            f"{settings['num_ranks']} go on: batch norm and mixing see other shares, so the weights will "
            "not be those of a run without a stop"
        )
    checkpoint = newest_checkpoint(folder)
    _drop_metrics_after(folder, checkpoint)
    return checkpoint


def _refuse_other_settings(
    folder: Path, before: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Refuse settings that are not the run's, and name all of them.

    What follows from a setting, as the steps in all do, is named where no setting is another one.
    """
    now = json.loads(json.dumps(settings))
    names = [n for n, value in now.items() if n not in _FREE and before.get(n) != value]
    chosen = [n for n in names if n in _FLAGS] or names
    if chosen == ["missing_images"]:
        raise ConfigError(
            f"{folder} was started when other images were missing: {now['missing_images']} now, "
            f"{before['missing_images']} then; put back what has gone since, or choose another --out"
        )
    if chosen:
        others = "; ".join(_difference(name, now[name], before.get(name)) for name in chosen)
        raise ConfigError(
            f"{folder} was started with other settings: {others}; go on with the run's own, which the "
            "command line takes where an option is not given, or choose another --out"
        )


def _difference(name: str, now: Any, then: Any) -> str:
    """Say how a setting differs; of one with parts, as what the store is of, name the first that does."""
    name = _FLAGS.get(name, name.replace("num_", "number of ").replace("_", " "))
    if isinstance(now, dict) and isinstance(then, dict):
        part = next(key for key in {**now, **then} if now.get(key) != then.get(key))
        of = "the store's" if name == "store spec" else f"{name}:"
        return _difference(f"{of} {_PARTS.get(part, part)}", now.get(part), then.get(part))
    return f"{name} is {_short(now)}, the run has {_short(then)}"


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
