"""The recipe of a training run on the command line, and one configuration of all that is said."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from fkd.cli.options import CORES
from fkd.config import (
    DISTANCES,
    RECIPES,
    LoaderConfig,
    Scheme,
    TrainConfig,
    Url,
    settings_to_resume,
)
from fkd.errors import FkdError
from fkd.recipes import Layer, recipe_layers


class LossText(click.ParamType):  # type: ignore[type-arg]  # plain in click 8.2
    """A distance, or a term of the loss as an inline table of TOML; `config` reads both."""

    name = "loss"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Show what may be given."""
        return "DISTANCE|{TERM}"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the distances."""
        return [CompletionItem(name) for name in DISTANCES if name.startswith(incomplete)]


class RecipeName(click.ParamType):  # type: ignore[type-arg]  # plain in click 8.2
    """The name of a recipe that fkd comes with, a .toml file, or the folder of a run.

    What it names is looked up when the configuration is built.
    """

    name = "recipe"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Show what may be given."""
        return "NAME|FILE|RUN"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer names, or files where no name begins so."""
        names = [CompletionItem(name) for name in RECIPES if name.startswith(incomplete)]
        return names or [CompletionItem(incomplete, type="file")]


def train_config(ctx: click.Context, options: dict[str, Any]) -> TrainConfig:
    """Build the configuration: the recipe, what a run that goes on has, then what is given."""
    said = {
        name: value
        for name, value in options.items()
        if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE and value is not None
    }
    if "scheme" in said:
        said["scheme"] = Scheme.parse(said["scheme"])
    name = said.pop("recipe", None)
    layers = [Layer("this machine", {"workers": CORES})]
    given = Layer("the command line", said)
    if said.get("resume"):
        before = _before(name, said)
        if before:
            # A run goes on by what it has; its recipe may be gone. An older run may lack what a
            # recipe of fkd's own has.
            begun = before.pop("recipe", "fkd")
            layers += recipe_layers(begun) if begun in RECIPES else ()
            layers += [Layer(f"run {before['out']}", before), given]
            return TrainConfig.of_layers(name or begun, layers)
    name = "fkd" if name is None else name
    return TrainConfig.of_layers(name, [*layers, *recipe_layers(name), given])


def _before(name: str | None, said: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the run that goes on, found by its folder or by what names it."""
    if "out" in said:
        return settings_to_resume(said)
    called = {"store": TrainConfig().store, **said}
    if name is not None:
        given = {key: value for key, value in said.items() if key != "resume"}
        layer = Layer("the command line", given)
        config = TrainConfig.of_layers(name, [*recipe_layers(name), layer])
        called = {n: getattr(config, n) for n in ("store", "student", "crops_per_image")} | said
        called |= {} if config.scheme is None else {"scheme": config.scheme}
    if "scheme" in called:
        return settings_to_resume(called)
    read = _read_by_default(called["store"])
    if read is None:  # there is no store to ask; the run may be of either kind, and names its own
        of_vectors = called | {"scheme": Scheme("none")}
        return settings_to_resume(called) or settings_to_resume(of_vectors)
    return settings_to_resume(called | {"scheme": read})


def _read_by_default(store: Path | Url) -> Scheme | None:
    """Return how a store is read where nobody says it, None where it cannot be opened."""
    from fkd.loader import as_stored
    from fkd.store import LabelStore

    try:
        opened = LabelStore.open(store)
    except FkdError:
        return None
    none = Scheme("none")
    return as_stored(LoaderConfig(store), opened).reading if opened.spec.labels.there else none
