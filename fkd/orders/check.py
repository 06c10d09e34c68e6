"""One check of a store: `fkd check`."""

from dataclasses import dataclass
from pathlib import Path

from fkd.config import MAX_SEED, MAX_WORKERS, TeacherChoice, Url, check_count, settle


@dataclass(frozen=True)
class CheckConfig:
    """One check of a store: `fkd check`.

    `images` is where the images are, None for where the store says. `deep` reads them all and draws all
    views anew. `teacher` is asked again about `num_views` views, if one is given. `repair` sends damaged
    blocks back to `fkd label`.
    """

    store: Path | Url
    images: Path | None = None
    deep: bool = False
    teacher: tuple[TeacherChoice, ...] = ()
    num_views: int = 512
    seed: int = 0
    repair: bool = False
    workers: int = 2
    device: str = "auto"

    def __post_init__(self) -> None:
        settle(self)
        check_count("--views", self.num_views, 1, 10_000_000)
        check_count("--seed", self.seed, 0, MAX_SEED)
        check_count("--workers", self.workers, 1, MAX_WORKERS)
