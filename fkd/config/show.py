"""One page about a store: `fkd show`."""

from dataclasses import dataclass
from pathlib import Path

from fkd.config.checks import MAX_SEED, check_count
from fkd.config.types import settle


@dataclass(frozen=True)
class ShowConfig:
    """One page about a store: `fkd show`.

    `against` is another store of the same crops by another teacher. `samples` images are drawn by `seed`,
    each with its first `crops` crops. Without `out`, labels.zarr is shown in labels-show.
    """

    store: Path = Path("labels.zarr")
    out: Path | None = None
    images: Path | None = None
    against: Path | None = None
    samples: int = 6
    crops: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        settle(self)
        check_count("--samples", self.samples, 0, 100)
        check_count("--crops", self.crops, 1, 24)
        check_count("--seed", self.seed, 0, MAX_SEED)
