"""Which folder a run has, and whether there is a run in it. This room loads no torch."""

import json
import os
import shlex
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fkd.config import CONFIG, TrainConfig, Url, folder_by_name
from fkd.errors import ConfigError


def folder_of(config: TrainConfig) -> Path:
    """Return `--out` or, without one, a folder below `runs`."""
    return config.out or folder_by_name(
        config.students[0].model, config.reading, config.crops_per_image, resume=config.resume
    )


def near_run(folder: Path) -> Path | None:
    """Return the folder beside this one that holds a run and has a similar name, None without one."""
    beside = [path.parent.name for path in folder.absolute().parent.glob(f"*/{CONFIG}")]
    meant = get_close_matches(folder.name, beside, 1)
    return folder.with_name(meant[0]) if meant else None


def refuse_other_store(
    folder: Path, before: Mapping[str, Any], named: Path | Url | str, spec: Mapping[str, Any]
) -> None:
    """Raise `ConfigError` where a run is to go on with a store elsewhere that holds other labels.

    `before` is the run's config.json, and `spec` the `named` store's, as JSON. One that has moved has the
    same. Vectors that the run does not read may be left out of either.
    """
    then, spec_then = before.get("store"), before.get("store_spec")
    if not isinstance(then, str) or not isinstance(spec_then, dict):
        return  # of an older fkd, or damaged
    now = json.loads(json.dumps(spec))
    same = all(now.get(key) == spec_then.get(key) for key in {*now, *spec_then} - {"targets"})
    if not same and os.path.abspath(then) != os.path.abspath(str(named)):
        raise ConfigError(
            f"{folder}: that run is of {then}, and {named} was named, which holds other labels; go on by "
            f"`fkd train --resume --out {shlex.quote(str(folder))}`, or choose another --out"
        )


def holds_run(folder: Path, config: TrainConfig) -> bool:
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
