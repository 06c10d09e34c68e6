"""The recipes that fkd comes with, as settings."""

from collections.abc import Iterator, Mapping
from typing import Any

from fkd.config.settled import settle_layers
from fkd.config.train import TrainConfig
from fkd.recipes import recipe_layers, shipped_names


class _Shipped(Mapping[str, Mapping[str, Any]]):
    """What each recipe says, and what it inherits, by setting. A file is read when it is asked for."""

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        if name not in shipped_names():
            raise KeyError(name)
        return settle_layers(recipe_layers(name), TrainConfig.names()).values

    def __iter__(self) -> Iterator[str]:
        return iter(shipped_names())

    def __len__(self) -> int:
        return len(shipped_names())


RECIPES: Mapping[str, Mapping[str, Any]] = _Shipped()
