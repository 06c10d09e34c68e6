"""Is there a store at a place, and what does its group say: read without zarr, which loads slowly."""

import json
import os
import shlex
from pathlib import Path
from typing import Any

from fkd.config import Url
from fkd.errors import StoreError, first_line
from fkd.files import Files, files_at, is_zip

_MAX_METADATA_BYTES = 2**20


def require_store(path: Path | Url) -> None:
    """Raise `StoreError` unless there is a label store at `path`, whatever its state."""
    if "fkd" not in read_attributes(path):
        raise StoreError(f"{path} is not a label store of fkd; name the folder of one")


def read_attributes(path: Path | Url, files: Files | None = None) -> dict[str, Any]:
    """Return the attributes of the group of a store, whose `files` may be open; raises `StoreError`."""
    if isinstance(path, Path) and not os.path.lexists(path):
        raise StoreError(f"label store {path} does not exist; make it with `fkd label`")
    if isinstance(path, Path) and path.is_dir() and not os.path.lexists(path / "zarr.json"):
        raise StoreError(f"{path} is not a label store of fkd{_what_else(path)}")
    try:
        return group_attributes(files or files_at(path))
    except FileNotFoundError as error:
        raise StoreError(_not_there(path)) from error
    except NotADirectoryError as error:
        raise StoreError(f"{path} is not a label store of fkd; it is a file") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({first_line(error)})") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"{path} is not a label store of fkd ({first_line(error)})") from error


def check_replaceable(path: Path) -> None:
    """Refuse what `--overwrite` must leave alone: what is no store, and a folder with other files."""
    try:
        ours = "fkd" in read_attributes(path)
    except StoreError:
        ours = False
    if not ours:
        raise StoreError(f"--overwrite: {path} is not a label store, so it is left alone")
    for entry in sorted(path.iterdir()) if path.is_dir() else ():
        if entry.name != "zarr.json" and not (entry / "zarr.json").is_file():
            raise StoreError(
                f"--overwrite: {path} holds {entry.name}, which is no part of a label store, so it is "
                "left alone; move that file away first"
            )


def group_attributes(files: Files) -> dict[str, Any]:
    """Return the attributes of a group; raises whatever a damaged one leads to."""
    group = read_json(files, "zarr.json")
    if group["zarr_format"] != 3 or group["node_type"] != "group":
        raise ValueError("it is no zarr v3 group")
    return dict(group["attributes"])


def read_json(files: Files, key: str) -> Any:
    """Read metadata of a store; raises `ValueError` for a link, a pipe, or more than metadata takes."""
    flaw = files.flaw(key)
    if flaw is not None:
        raise ValueError(flaw)
    if files.size(key) > _MAX_METADATA_BYTES:
        raise ValueError(f"{key} is more than metadata takes")
    return json.loads(files.read(key))


def _not_there(path: Path | Url) -> str:
    if is_zip(path):
        return (
            f"{path} is not a label store of fkd: it has no zarr.json of its own; make the archive with "
            "`fkd copy`, or with `zip -0 -r` in the folder of the store"
        )
    return f"there is no label store at {path}; name the folder of one, or a .zip"


def _what_else(folder: Path) -> str:
    """Recognise what people give instead, and say what to give."""
    if (folder / "metrics.jsonl").exists():
        goes_on = f"fkd train --resume --out {shlex.quote(str(folder))}"
        return f", it is a run of `fkd train`; its config.json names the store, and `{goes_on}` goes on"
    if (folder / "train").is_dir():
        return ", it is an image folder; `fkd label` makes the store"
    return ": it has no zarr.json; `fkd label` makes stores"
