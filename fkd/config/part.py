"""Which images of a data set, or of a store, are taken: a share of each class, listed ones, classes."""

import re
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from fkd.config.types import settle
from fkd.errors import ConfigError

_SHARE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?%?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """A part of the images; by default all of them.

    `subset` is a share of each class ("0.1", "10%", or a number), or a file with one image a line.
    `classes` is a file with one class name a line. With both, an image must be in both.
    """

    subset: str | None = None
    classes: Path | None = None

    def __post_init__(self) -> None:
        given: Any = self.subset
        if type(given) is not bool and isinstance(given, Real):  # in Python a share may be a number
            object.__setattr__(self, "subset", repr(float(given)))
        settle(self)
        if self.share is not None and not 0 < self.share <= 1:
            raise ConfigError(
                f"--subset {self.subset} is no share of the images: a share is above 0 and at most 1, as "
                "0.1 or 10%; some images are named by a file with one a line"
            )

    @property
    def takes_all(self) -> bool:
        """Whether every image is taken."""
        return self.subset is None and self.classes is None

    @property
    def share(self) -> float | None:
        """The share of each class, in (0, 1], where that is what `subset` is."""
        if self.subset is None or not _SHARE.fullmatch(self.subset):
            return None
        number = float(self.subset.removesuffix("%"))
        return number / 100 if self.subset.endswith("%") else number

    @property
    def listed(self) -> Path | None:
        """The file that lists the images, where that is what `subset` is."""
        return None if self.subset is None or self.share is not None else Path(self.subset)

    def __str__(self) -> str:
        flags = [] if self.subset is None else [f"--subset {self.subset}"]
        return " ".join(flags + ([] if self.classes is None else [f"--classes {self.classes}"]))
