"""One copy of an image folder in smaller pixels: `fkd pack`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fkd.config.checks import MAX_BOUND, MAX_WORKERS, check_choice, check_count
from fkd.config.types import settle

Bound = Literal["shortest", "longest"]
BOUNDS: tuple[Bound, ...] = ("shortest", "longest")


@dataclass(frozen=True)
class PackConfig:
    """One copy of an image folder in smaller pixels: `fkd pack`.

    `bound` names the side, of the two, that has at most `pixels` afterwards; smaller images stay as they
    are. `quality` is that of the JPEG files.
    """

    images: Path
    out: Path
    bound: Bound = "shortest"
    pixels: int = 256
    quality: int = 90
    workers: int = 2
    overwrite: bool = False

    def __post_init__(self) -> None:
        settle(self)
        check_choice("bound", self.bound, BOUNDS)
        check_count(f"--{self.bound}", self.pixels, 1, MAX_BOUND)
        check_count("--quality", self.quality, 1, 100)
        check_count("--workers", self.workers, 1, MAX_WORKERS)
