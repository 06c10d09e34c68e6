"""Where a recipe is: among those that fkd comes with, in a file, or in the folder of a run."""

import os
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from fkd.errors import ConfigError

CONFIG = "config.json"

_SHIPPED = Path(__file__).parent / "shipped"


@cache
def shipped_names() -> tuple[str, ...]:
    """Return the names of the recipes that fkd comes with, sorted."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.toml")))


def is_shipped(file: Path) -> bool:
    """Say whether a file is one of the recipes that fkd comes with."""
    return file.parent == _SHIPPED


def recipe_file(named: str, beside: Path | None = None) -> Path:
    """Return the file of a recipe: a .toml, or the config.json of a run.

    `named` is the name of a shipped recipe, or a path: of a .toml file, a run folder or its config.json.
    Where a file inherits, paths begin in the folder of that file, `beside`. Raises `ConfigError` for what
    is not there.
    """
    said = "--recipe" if beside is None else f"{beside}: recipe"
    if named in shipped_names():
        return _SHIPPED / f"{named}.toml"
    if not named:
        raise ConfigError(f"{said} is empty; give a name, a .toml file or the folder of a run")
    path = Path(named) if beside is None else beside.parent / named
    if os.path.isdir(path):
        if not os.path.isfile(path / CONFIG):
            raise ConfigError(
                f"{said} {path} is a folder without {CONFIG}; give the folder of a run of `fkd train`, "
                "or a .toml file"
            )
        return path / CONFIG
    if os.path.isfile(path):
        if path.suffix not in (".toml", ".json"):
            raise ConfigError(
                f"{said} {path} is no recipe; give a .toml file, or the folder of a run"
            )
        return path
    if path.suffix in (".toml", ".json") or len(path.parts) > 1:
        raise ConfigError(f"{said} {path}: no such file")
    meant = get_close_matches(named, shipped_names(), 1)
    perhaps = f" (perhaps {meant[0]}?)" if meant else ""
    raise ConfigError(
        f"{said} {named!r} is unknown{perhaps}; choose {', '.join(shipped_names())}, or give a .toml "
        "file or the folder of a run"
    )
