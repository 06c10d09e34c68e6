"""The folder of a run, and the settings that a run which goes on takes from it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fkd.config.scheme import Scheme
from fkd.config.settled import crops_before
from fkd.config.students import as_students, models_of
from fkd.config.train import TrainConfig
from fkd.config.views import CROP_SHARE
from fkd.errors import ConfigError

CONFIG = "config.json"

# What a run that goes on does not take from its folder: these are of the command that goes on.
_OWN = {"out", "resume", "workers"}

# Settings that an older fkd did not write, with the values by which it evaluated, so that a run is judged
# alike to its end.
_EVALUATED = {"eval_crop": CROP_SHARE}


def folder_by_name(
    student: str, scheme: Scheme, crops_per_image: int, *, resume: bool = False
) -> Path:
    """Return a folder runs/STUDENT-SCHEME-mM-NUMBER, with "vectors" for SCHEME where no labels are read.

    The number is the highest that exists for a run that goes on, and the next one for a new run.
    """
    read = "vectors" if scheme.kind == "none" else scheme
    stem = f"{student.replace(':', '-').replace('/', '-')}-{read}-m{crops_per_image}-"
    names = [path.name for path in Path("runs").glob("*") if path.name.startswith(stem)]
    numbers = [int(name[len(stem) :]) for name in names if name[len(stem) :].isdecimal()]
    number = max(numbers) if resume and numbers else max(numbers, default=0) + 1
    return Path("runs") / f"{stem}{number}"


def settings_to_resume(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, by name, of the run that goes on; none where there is no run yet.

    `given` are settings that the user gave, by which the run is found. Raises `ConfigError` for a
    config.json that is damaged.
    """
    default = TrainConfig()
    folder = given.get("out") or folder_by_name(
        models_of(as_students(given.get("student", default.student)))[0],
        given.get("scheme") or default.reading,
        given.get("crops_per_image", default.crops_per_image),
        resume=True,
    )
    if not (folder / CONFIG).is_file():
        return {}
    known = set(TrainConfig.names()) - _OWN
    before = read_config(folder)
    settings = {name: value for name, value in before.items() if name in known}
    settings.setdefault("num_crops", crops_before(before))
    for name, value in settings.items():
        if isinstance(value, list):
            settings[name] = tuple(value)
    if isinstance(settings.get("scheme"), str):
        settings["scheme"] = Scheme.parse(settings["scheme"])
    return {**_EVALUATED, **settings, "out": folder}


def read_config(folder: Path) -> dict[str, Any]:
    """Return what a run's config.json says."""
    try:
        return {**json.loads((folder / CONFIG).read_text("utf-8"))}
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{folder / CONFIG} is damaged ({error}); start a new run") from error
