"""How views are drawn, how large and how they are rendered, and by whom."""

from dataclasses import dataclass, fields
from typing import Literal

from fkd.config.checks import (
    MAX_CROPS,
    MAX_SEED,
    MAX_SIZE,
    check_alpha,
    check_choice,
    check_count,
    check_pair,
    check_range,
)
from fkd.config.types import settle
from fkd.errors import ConfigError

Interpolation = Literal["bilinear", "bicubic"]
INTERPOLATIONS: tuple[Interpolation, ...] = ("bilinear", "bicubic")

Render = Literal["auto", "cpu", "device"]
RENDERS: tuple[Render, ...] = ("auto", "cpu", "device")

# A crop fills its view whatever its own shape is, or keeps its shape and is padded.
Fit = Literal["fill", "pad"]
FITS: tuple[Fit, ...] = ("fill", "pad")

# The side of square views, or their height and width, in pixels. Of equal sides it is always one number.
Size = int | tuple[int, int]

# The share of a resized image's shorter side that is evaluated: ImageNet's 224 of 256 pixels. Images of
# CIFAR and Tiny ImageNet are no larger than their views, and are evaluated whole in the field.
CROP_SHARE = 224 / 256
WHOLE_UP_TO = 64
MIN_CROP_SHARE = 0.1


def sides_of(size: Size) -> tuple[int, int]:
    """Return the height and width of views."""
    return (size, size) if isinstance(size, int) else size


def as_size(height: int, width: int) -> Size:
    """Return the size of views of this height and width."""
    return height if height == width else (height, width)


def size_text(size: Size) -> str:
    """Return a size as a user writes it: "224", "160x224"."""
    return "x".join(str(side) for side in dict.fromkeys(sides_of(size)))


def usual_crop(size: Size) -> float:
    """Return the share of an image that views of a size are evaluated on, where nobody says another."""
    return 1.0 if min(sides_of(size)) <= WHOLE_UP_TO else CROP_SHARE


@dataclass(frozen=True)
class TonePolicy:
    """How the colours of views change, and how often a part is erased, before the teacher sees them.

    Brightness, contrast and saturation are strengths s as in torchvision's ColorJitter: a view's factor
    is uniform in [1 - s, 1 + s]. `erase` is the probability that a rectangle of a view is erased.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    erase: float = 0.0

    def __post_init__(self) -> None:
        settle(self)
        check_range("--brightness", self.brightness, 0, 1)
        check_range("--contrast", self.contrast, 0, 1)
        check_range("--saturation", self.saturation, 0, 1)
        check_range("--erase", self.erase, 0, 1)

    @property
    def plain(self) -> bool:
        """Whether views stay as they are rendered."""
        return self == TonePolicy()

    def __str__(self) -> str:
        names = ("brightness", "contrast", "saturation", "erase")
        said = [f"{name} {value:g}" for name in names if (value := getattr(self, name))]
        return ", ".join(said) or "as it is"


@dataclass(frozen=True)
class ViewFormat:
    """The size of a view in pixels, and the interpolation by which a crop is resized to it."""

    size: Size
    interpolation: Interpolation


@dataclass(frozen=True)
class CenterView(ViewFormat):
    """How an image becomes the view that a network is evaluated on.

    The image is resized until the view covers the share `crop` of its side, and the centre is cut out:
    what timm calls `crop_pct` and `crop_mode="center"`. With `fit` "pad" the whole image is put into the
    view as padded crops are.
    """

    crop: float = CROP_SHARE
    fit: Fit = "fill"

    def __post_init__(self) -> None:
        settle(self)
        object.__setattr__(self, "size", as_size(*sides_of(self.size)))
        for side in sides_of(self.size):
            check_count("--eval-size", side, 1, MAX_SIZE)
        check_choice("--interpolation", self.interpolation, INTERPOLATIONS)
        check_range("--eval-crop", self.crop, MIN_CROP_SHARE, 1)
        check_choice("--fit", self.fit, FITS)
        if self.fit == "pad" and self.crop != 1:
            raise ConfigError(
                f"--eval-crop {self.crop:g} does not go with padded views, which are of the whole image; "
                "leave it out"
            )

    def __str__(self) -> str:
        share = "the whole" if self.crop == 1 else f"{self.crop:.3g}"
        padded = ", padded" if self.fit == "pad" else ""
        return f"{size_text(self.size)} px, {share} of an image{padded}"


@dataclass(frozen=True)
class MixPolicy:
    """How views are mixed with a partner's before the teacher sees them.

    `mixup` and `cutmix` are the α of the Beta(α, α) that λ is drawn from, and 0 where it is not done;
    with both, a coin decides. `share` is that of the views that are mixed at all. An image keeps its
    partner for `period` of its crops, so that a trainer that takes as many at once decodes no image more.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    share: float = 1.0
    period: int = 8

    def __post_init__(self) -> None:
        settle(self)
        check_alpha("--mixup", self.mixup)
        check_alpha("--cutmix", self.cutmix)
        check_range("--mix-share", self.share, 1e-6, 1)
        check_count("--mix-period", self.period, 1, MAX_CROPS)
        usual = {field.name: field.default for field in fields(self)}
        for name in ("share", "period"):
            if not self.mixes and getattr(self, name) != usual[name]:
                raise ConfigError(f"--mix-{name} does nothing without --mixup or --cutmix; add one")

    @property
    def mixes(self) -> bool:
        """Whether anything is mixed."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def both(self) -> bool:
        """Whether a coin decides between mixup and cutmix."""
        return self.mixup > 0 and self.cutmix > 0

    def __str__(self) -> str:
        kinds = [
            f"{kind} {a:g}" for kind, a in (("mixup", self.mixup), ("cutmix", self.cutmix)) if a
        ]
        of = "" if self.share == 1 else f" of {self.share:.0%} of the views"
        return " or ".join(kinds) + of if kinds else "none"


@dataclass(frozen=True)
class ViewPolicy:
    """The rule by which views are drawn: a view is a pure function of (seed, image index, crop index).

    `scale` bounds the share of the image's area that a crop covers, `ratio` its width over height;
    both have the meaning of torchvision's RandomResizedCrop. `mix` says how views are mixed with those of
    other images, and `tone` how their tone changes before that. With `flip` a coin mirrors each view.

    With `fit` "fill" a crop is resized to its view whatever its own shape is. With "pad" it keeps its
    shape: it is resized until it just fits, stands at the upper left, and the rest is grey. `ratio` is
    then relative to the image's own: a crop of ratio 1 has the image's shape.
    """

    seed: int = 0
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    mix: MixPolicy = MixPolicy()
    tone: TonePolicy = TonePolicy()
    flip: bool = True
    fit: Fit = "fill"

    def __post_init__(self) -> None:
        settle(self)
        check_count("--seed", self.seed, 0, MAX_SEED)
        check_pair("--scale", self.scale, 1e-6, 1.0)
        check_pair("--ratio", self.ratio, 1e-3, 1e3)
        check_choice("--fit", self.fit, FITS)
        if self.fit == "pad" and self.mix.mixes:
            raise ConfigError(
                "--fit pad does not go with --mixup or --cutmix, whose shares count padding as a part of "
                "an image; leave one out"
            )

    @property
    def manner(self) -> tuple[str, ...]:
        """What is unusual of how crops become views, in words."""
        padded = ("padded",) if self.fit == "pad" else ()
        return padded if self.flip else (*padded, "never mirrored")

    @property
    def settings(self) -> dict[str, object]:
        """All that a user chooses of views, by flag."""
        mix, tone = self.mix, self.tone
        return {
            "--seed": self.seed,
            "--scale": self.scale,
            "--ratio": self.ratio,
            "--flip": self.flip,
            "--fit": self.fit,
            "--mixup": mix.mixup,
            "--cutmix": mix.cutmix,
            "--mix-share": mix.share,
            "--mix-period": mix.period,
            "--brightness": tone.brightness,
            "--contrast": tone.contrast,
            "--saturation": tone.saturation,
            "--erase": tone.erase,
        }
