"""What a recipe says, and what it inherits, one layer a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fkd.errors import ConfigError
from fkd.recipes.finding import is_shipped, recipe_file
from fkd.recipes.reading import read_run, read_toml


@dataclass(frozen=True)
class Layer:
    """Settings from one place, by name; where layers say different things the later one counts.

    `source` names the place for people. A `recipe` is a file that errors name; settings that are no
    recipe's are of whoever calls. `of_run` says that it is the config.json of a run, which says more than
    settings.
    """

    source: str
    values: Mapping[str, Any]
    recipe: bool = False
    of_run: bool = False


def recipe_layers(named: str) -> tuple[Layer, ...]:
    """Return the layers of a recipe: what is inherited comes first, and its own settings last.

    `named` is a shipped name, a .toml file, a run folder or its config.json. Raises `ConfigError`, in one
    line that names the file, for what is missing or no recipe, and for files that inherit in a circle.
    """
    layers: list[Layer] = []
    seen: dict[Path, Path] = {}
    heir: Path | None = None
    parent: str | None = named
    while parent is not None:
        file = recipe_file(parent, heir)
        if file.resolve() in seen:
            circle = " → ".join(str(one) for one in [*seen.values(), file])
            raise ConfigError(f"{heir}: recipe {parent!r} inherits in a circle: {circle}; break it")
        seen[file.resolve()] = file
        layer, parent = _read(file)
        layers.insert(0, layer)
        heir = file
    return tuple(layers)


def _read(file: Path) -> tuple[Layer, str | None]:
    """Return what a file says, and what it inherits from, if anything."""
    if file.suffix == ".json":
        values = read_run(file)
        return Layer(f"run {file.parent}", values, recipe=True, of_run=True), None
    values = read_toml(file)
    parent = values.pop("recipe", None)
    if parent is not None and not isinstance(parent, str):
        raise ConfigError(f"{file}: recipe is {parent!r}; it must be text")
    source = f"recipe {file.stem}" if is_shipped(file) else str(file)
    return Layer(source, values, recipe=True), parent
