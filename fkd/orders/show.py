"""One page about a store: `fkd show`."""

from dataclasses import dataclass
from pathlib import Path

from fkd.config import MAX_SEED, Url, check_choice, check_count, settle

FIGURE_FORMATS = ("png", "pdf", "svg")

_MOST_DRAWN = 100


@dataclass(frozen=True)
class ShowConfig:
    """One page about a store: `fkd show`.

    `against` is another store of the same crops by another teacher. `samples` images are drawn by `seed`,
    or else those that are `chosen` by their paths in the image folder, each with its first `crops` crops.
    `class_names` is a text file with a name to read for each class. `formats` are those in which figures
    lie beside the page, "png" in any case. Without `out`, labels.zarr is shown in labels-show.
    """

    store: Path | Url = Path("labels.zarr")
    out: Path | None = None
    images: Path | None = None
    against: Path | Url | None = None
    class_names: Path | None = None
    samples: int = 6
    chosen: tuple[str, ...] = ()
    crops: int = 6
    seed: int = 0
    formats: tuple[str, ...] = ("png",)

    def __post_init__(self) -> None:
        settle(self)
        check_count("--samples", self.samples, 0, _MOST_DRAWN)
        check_count("the number of --image", len(self.chosen), 0, _MOST_DRAWN)
        check_count("--crops", self.crops, 1, 24)
        check_count("--seed", self.seed, 0, MAX_SEED)
        for name in self.formats:
            check_choice("--format", name, FIGURE_FORMATS)
