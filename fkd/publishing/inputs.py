"""Refuse what can be no repository on a hub, before torch is loaded."""

import os
from pathlib import Path

from fkd.config import Url
from fkd.errors import ConfigError
from fkd.files import is_zip
from fkd.format import check_replaceable

CARD, STORE = "README.md", "labels.zarr.zip"


def check_repository(out: Path | Url, *, overwrite: bool = False) -> Path:
    """Return the folder of a repository; raises `ConfigError` for what is none, or has a store."""
    if isinstance(out, Url):
        raise ConfigError(
            f"--to hub: {out} is an address; name a folder here, and upload it with the hub's own tool"
        )
    if is_zip(out) or (os.path.lexists(out) and not out.is_dir()):
        raise ConfigError(f"--to hub: {out} is one file; name a folder, which will hold {STORE}")
    if (out / "zarr.json").exists():
        raise ConfigError(f"--to hub: {out} is a store itself; name a folder beside it")
    if os.path.lexists(out / STORE) and not overwrite:
        raise ConfigError(
            f"{out / STORE} is there already; name another folder, or give --overwrite"
        )
    if os.path.lexists(out / STORE):
        check_replaceable(out / STORE)
    return out
