"""Layers of settings become one: which value counts, where it comes from, and what no recipe may say."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from fkd.config.types import fit
from fkd.config.views import CROP_SHARE
from fkd.errors import ConfigError
from fkd.recipes import Layer, recipe_text
from fkd.version import version_of

# Options whose settings have another name. A recipe may say either.
SETTING_OF = {"compress": "scheme", "crops": "num_crops"}
OPTION_OF = {setting: option for option, setting in SETTING_OF.items()}

# These are of one run: another run of the same recipe has others. The number of threads is a machine's.
_OF_ONE_RUN = ("out", "resume")
_LEFT = (*_OF_ONE_RUN, "workers", "recipe")

# A recipe's own warm-up takes at most this share of a run whose length is chosen besides.
_WARMUP_SHARE = 0.25

# Settings that an older fkd did not write into config.json, with the values by which it trained.
_BEFORE = {"stagger": 0, "eval_crop": CROP_SHARE}


class Applied(str):
    """The name of a recipe whose settings are in the configuration that it stands in.

    `origins` has each of these settings, as plain JSON values, with its source.
    """

    origins: Mapping[str, tuple[Any, str]] = MappingProxyType({})


@dataclass(frozen=True)
class Settled:
    """Settings by name, and the source of each."""

    values: Mapping[str, Any]
    sources: Mapping[str, str]


def settle_layers(layers: Sequence[Layer], known: Collection[str]) -> Settled:
    """Take each setting from the last layer that has it.

    Where a later layer than the recipe's own says the epochs, its warm-up takes at most a quarter.
    Raises `ConfigError` for epochs that are no number.
    """
    values: dict[str, Any] = {}
    at: dict[str, int] = {}
    for n, layer in enumerate(layers):
        own = _by_setting(layer, known)
        values |= own
        at |= dict.fromkeys(own, n)
    sources = {name: layers[n].source for name, n in at.items()}
    warmup = at.get("warmup_epochs")
    if warmup is not None and layers[warmup].recipe and at.get("epochs", -1) > warmup:
        length = fit("epochs", values["epochs"], float)
        asked = fit("warmup_epochs", values["warmup_epochs"], float)
        most = max(0.0, _WARMUP_SHARE * length)
        if asked > most:
            values["warmup_epochs"] = most
            sources["warmup_epochs"] += f", at most {_WARMUP_SHARE:g} of the epochs"
    return Settled(values, sources)


def check_layers(layers: Sequence[Layer], known: Collection[str], groups: Collection[str]) -> None:
    """Raise `ConfigError`, which names the file and the key, for what is no setting of a recipe."""
    for layer in layers:
        if layer.of_run and "lr" not in layer.values:
            raise ConfigError(
                f"{layer.source}: its config.json has no settings of a training run; give the folder "
                "of a run of `fkd train`, or a .toml file"
            )
        if layer.recipe and not layer.of_run:
            for key in layer.values:
                _check_key(layer, key, known, groups)


def _check_key(layer: Layer, key: str, known: Collection[str], groups: Collection[str]) -> None:
    name = SETTING_OF.get(key, key)
    if name in _OF_ONE_RUN:
        raise ConfigError(
            f"{layer.source}: {key} is of one run, not of a recipe; give --{key} on the command line"
        )
    if key in groups:
        raise ConfigError(
            f"{layer.source}: [{key}] is no table of a recipe; give its settings by their own names, "
            "above all tables"
        )
    if name not in known:
        meant = get_close_matches(key, [*known, *SETTING_OF], 1)
        perhaps = f" (perhaps {OPTION_OF.get(meant[0], meant[0])}?)" if meant else ""
        raise ConfigError(
            f"{layer.source}: {key} is no setting of a training run{perhaps}; `fkd train --help` has all "
            "of them, and a recipe says their names without --"
        )
    if key in SETTING_OF and name in layer.values:
        raise ConfigError(
            f"{layer.source}: {key} and {name} are one setting, said twice; keep {key}"
        )


def blamed(
    error: ConfigError, layers: Sequence[Layer], build: Callable[[Sequence[Layer]], object]
) -> str:
    """Return what an error says, with the recipe that brings it up, or has a part in it."""

    def refused(some: Sequence[Layer]) -> bool:
        try:
            build(some)
        except ConfigError as same:
            return str(same) == str(error)
        return False

    for n, layer in enumerate(layers):
        if refused(layers[: n + 1]):
            if layer.recipe:
                return f"{layer.source}: {error}"
            before = range(0 if refused([layer]) else n)
            part = next((m for m in before if refused([*layers[: m + 1], layer])), None)
            return str(error) if part is None else f"{error} (beside {layers[part].source})"
    return str(error)


def settled_text(
    recipe: str, settings: Mapping[str, Any], usual: Mapping[str, Any], left_out: Collection[str]
) -> str:
    """Return settings, as plain JSON values, as a recipe file, each with the place that it comes from.

    `recipe` is that of the configuration, which may know the places; `usual` are the defaults.
    """
    origins = recipe.origins if isinstance(recipe, Applied) else {}
    values, sources = {}, {}
    for name, value in settings.items():
        if name in ("recipe", *_OF_ONE_RUN, *left_out):
            continue
        key = OPTION_OF.get(name, name)
        then, source = origins.get(name, (usual[name], "default"))
        values[key] = value
        sources[key] = source if then == value else "the configuration"
    head = [f"The settled recipe of fkd {version_of('fkd')}: `fkd train --recipe FILE` reads it."]
    return recipe_text(head, values, sources)


def crops_before(config: Mapping[str, Any]) -> int | None:
    """Return M of a run by its config.json; an older fkd wrote it with what its store was of alone."""
    of_store = config.get("store_spec")
    by_store = of_store.get("num_crops") if isinstance(of_store, dict) else None
    num_crops: int | None = config.get("num_crops", by_store)
    return num_crops


def _by_setting(layer: Layer, known: Collection[str]) -> dict[str, Any]:
    """Return what a layer says by the names of settings."""
    if not layer.recipe:
        return dict(layer.values)
    if layer.of_run:
        said = {name: value for name, value in layer.values.items() if name in known}
        before = {**_BEFORE, "num_crops": crops_before(layer.values)}
        return {**before, **{name: said[name] for name in said if name not in _LEFT}}
    return {SETTING_OF.get(key, key): value for key, value in layer.values.items()}
