"""One copy of images in another place, or in smaller pixels: `fkd pack`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fkd.config import MAX_BOUND, MAX_WORKERS, check_choice, check_count, settle

Bound = Literal["shortest", "longest"]
BOUNDS: tuple[Bound, ...] = ("shortest", "longest")

PackTo = Literal["folder", "tar"]
PACK_TO: tuple[PackTo, ...] = ("folder", "tar")


@dataclass(frozen=True)
class PackConfig:
    """One copy of images, from a folder, archives, tables or a list: `fkd pack`.

    `bound` names the side, of the two, that has at most `pixels` afterwards; smaller images stay as they
    are, and with None all do. `quality` is that of the JPEG files. `to` says what is written: a "folder"
    of files, or "tar" shards of about `shard_bytes` of the source each. With `unlabelled`, images are
    taken from any depth, without classes, masks or texts. Without `split`, `images` itself is taken,
    though a folder in it is named train.
    """

    images: Path
    out: Path
    bound: Bound = "shortest"
    pixels: int | None = 256
    quality: int = 90
    workers: int = 2
    overwrite: bool = False
    to: PackTo = "folder"
    shard_bytes: int = 1_000_000_000
    unlabelled: bool = False
    split: bool = True

    def __post_init__(self) -> None:
        settle(self)
        check_choice("bound", self.bound, BOUNDS)
        if self.pixels is not None:
            check_count(f"--{self.bound}", self.pixels, 1, MAX_BOUND)
        check_choice("--to", self.to, PACK_TO)
        check_count("--shard-size", self.shard_bytes, 1_000_000, 10**12)
        check_count("--quality", self.quality, 1, 100)
        check_count("--workers", self.workers, 1, MAX_WORKERS)
