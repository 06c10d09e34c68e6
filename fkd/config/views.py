"""How views are drawn, how they are rendered, and by whom."""

from dataclasses import dataclass
from typing import Literal

from fkd.config.checks import MAX_SEED, check_count, check_pair
from fkd.config.types import settle

Interpolation = Literal["bilinear", "bicubic"]
INTERPOLATIONS: tuple[Interpolation, ...] = ("bilinear", "bicubic")

Render = Literal["auto", "cpu", "device"]
RENDERS: tuple[Render, ...] = ("auto", "cpu", "device")


@dataclass(frozen=True)
class ViewFormat:
    """The side of a square view, in pixels, and the interpolation by which a crop is resized to it."""

    size: int
    interpolation: Interpolation


@dataclass(frozen=True)
class ViewPolicy:
    """The rule by which views are drawn: a view is a pure function of (seed, image index, crop index).

    `scale` bounds the share of the image's area that a crop covers, `ratio` its width over height;
    both have the meaning of torchvision's RandomResizedCrop.
    """

    seed: int = 0
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        settle(self)
        check_count("--seed", self.seed, 0, MAX_SEED)
        check_pair("--scale", self.scale, 1e-6, 1.0)
        check_pair("--ratio", self.ratio, 1e-3, 1e3)
