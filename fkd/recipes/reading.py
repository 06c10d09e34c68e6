"""Settings are read: TOML that people write, or the config.json that a run wrote."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from fkd.amounts import as_bytes
from fkd.errors import ConfigError, first_line

_LARGEST = (
    1 << 20
)  # bytes of a recipe; what is larger is something else, and would take long to read


def read_toml(file: Path) -> dict[str, Any]:
    """Return the settings in a TOML file by name, with `_` for the `-` of options.

    Raises `ConfigError`, in one line that names the file, for one that cannot be read, for what is no
    TOML (with the line and column), and for a setting that is there in both spellings.
    """
    try:
        if (size := file.stat().st_size) > _LARGEST:
            raise ConfigError(
                f"{file} has {as_bytes(size)}, and a recipe at most {as_bytes(_LARGEST)}; give another "
                "file"
            )
        said = tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: {_why(error)}; mend the file") from error
    values: dict[str, Any] = {}
    for key, value in said.items():
        name = key.replace("-", "_")
        if name in values:
            raise ConfigError(f"{file}: {name} is there twice, with - and with _; keep one")
        values[name] = value
    return values


def inline_table(what: str, text: str, example: str) -> dict[str, Any]:
    """Return a table of TOML on one line; raises `ConfigError` for what is none."""
    try:
        said = tomllib.loads(f"{what} = {text}")
    except (ValueError, RecursionError) as error:
        why = "it is nested too deep" if isinstance(error, RecursionError) else first_line(error)
        why = re.sub(  # of what was typed, without the name in front
            r"column (\d+)", lambda at: f"column {int(at[1]) - len(what) - 3}", why
        )
        raise ConfigError(
            f"{what} {_shown(text)} is no table ({why}); write one such as {example}"
        ) from error
    if len(said) > 1:
        raise ConfigError(
            f"{what} {_shown(text)} is more than a table; write one such as {example}"
        )
    table: dict[str, Any] = said[what]
    return table


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:197] + "…"


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"it cannot be read ({error.strerror})"
    if isinstance(error, UnicodeDecodeError):
        return "it is no text in UTF-8"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return f"it is no TOML ({first_line(error)})"


def read_run(file: Path) -> dict[str, Any]:
    """Return what a run's config.json says: its settings, and more."""
    try:
        return {**json.loads(file.read_text("utf-8"))}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"{file} is damaged ({first_line(error)}); take another run, or the recipe.toml of this one"
        ) from error
