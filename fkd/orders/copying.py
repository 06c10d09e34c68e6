"""Stores that are made of stores: `fkd copy`, `fkd merge` and `fkd average`."""

import math
from dataclasses import dataclass
from pathlib import Path

from fkd.amounts import as_count
from fkd.config import (
    MAX_CROPS,
    MAX_WORKERS,
    Part,
    Scheme,
    Url,
    check_count,
    check_range,
    check_stored,
    settle,
)
from fkd.errors import ConfigError

_LIGHTEST, _HEAVIEST = 1e-6, 1e6


@dataclass(frozen=True)
class CopyConfig:
    """One copy of a store, or of a part of it: `fkd copy`.

    `part` says which images it has, `num_crops` how many of the first crops of each, and `scheme` how
    it keeps their labels; None leaves both as they are. It is `without` the vectors of these names. Where
    nothing is chosen the copy is the store, byte for byte.
    """

    store: Path | Url
    out: Path | Url
    part: Part = Part()
    num_crops: int | None = None
    scheme: Scheme | None = None
    workers: int = 2
    overwrite: bool = False
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        settle(self)
        if self.num_crops is not None:
            check_count("--crops", self.num_crops, 1, MAX_CROPS)
        if self.scheme is not None:
            check_stored(self.scheme)
        check_count("--workers", self.workers, 1, MAX_WORKERS)

    @property
    def takes_all(self) -> bool:
        """Whether nothing is chosen."""
        chosen = self.num_crops is not None or self.scheme is not None or self.without
        return self.part.takes_all and not chosen


@dataclass(frozen=True)
class MergeConfig:
    """One store of the images of several, which share none: `fkd merge`."""

    stores: tuple[Path | Url, ...]
    out: Path
    workers: int = 2
    overwrite: bool = False

    def __post_init__(self) -> None:
        settle(self)
        _require_several("fkd merge", self.stores)
        check_count("--workers", self.workers, 1, MAX_WORKERS)


@dataclass(frozen=True)
class AverageConfig:
    """One store of the mean of several stores' labels, of the same views: `fkd average`.

    `weights` has one number above 0 for each store; they count by their share of the sum, and none
    means that all count alike. `scheme` says how the mean is kept; None is the scheme of the first
    store.
    """

    stores: tuple[Path | Url, ...]
    out: Path
    weights: tuple[float, ...] = ()
    scheme: Scheme | None = None
    workers: int = 2
    overwrite: bool = False

    def __post_init__(self) -> None:
        settle(self)
        _require_several("fkd average", self.stores)
        if len(self.weights) not in (0, len(self.stores)):
            raise ConfigError(
                f"--weights has {as_count(len(self.weights), 'number')} for "
                f"{as_count(len(self.stores), 'store')}; give one for each, in their order"
            )
        for weight in self.weights:
            check_range("--weights", weight, _LIGHTEST, _HEAVIEST)
        if self.scheme is not None:
            check_stored(self.scheme)
        check_count("--workers", self.workers, 1, MAX_WORKERS)

    @property
    def shares(self) -> tuple[float, ...]:
        """What each store counts, in sum 1."""
        weights = self.weights or (1.0,) * len(self.stores)
        total = math.fsum(weights)
        return tuple(weight / total for weight in weights)


def _require_several(command: str, stores: tuple[Path | Url, ...]) -> None:
    """Refuse one store alone, and one that is named twice."""
    if len(stores) < 2:
        raise ConfigError(f"`{command}` takes at least two stores, and {len(stores)} is named")
    for number, store in enumerate(stores):
        if store in stores[:number]:
            raise ConfigError(f"{store} is named twice; name each store once")
