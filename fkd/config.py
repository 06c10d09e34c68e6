"""What a user may choose, as frozen dataclasses that are checked once, when they are built.

Nothing here imports torch, so that the command line can parse and refuse at once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from fkd.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Interpolation = Literal["bilinear", "bicubic"]
INTERPOLATIONS: tuple[Interpolation, ...] = ("bilinear", "bicubic")

Render = Literal["auto", "cpu", "device"]
RENDERS: tuple[Render, ...] = ("auto", "cpu", "device")

Bound = Literal["shortest", "longest"]
BOUNDS: tuple[Bound, ...] = ("shortest", "longest")

Amp = Literal["off", "bf16", "fp16"]
AMPS: tuple[Amp, ...] = ("off", "bf16", "fp16")

SchemeKind = Literal["full", "hard", "smoothing", "topk"]
Tail = Literal["renorm", "smooth"]

Triple = tuple[float, float, float]

# A seed is part of the key of a Philox generator, whose words have 64 bits.
MAX_SEED = 2**63 - 1
MAX_CROPS = 65_536
MAX_SIZE = 4096
MAX_BATCH = 1_000_000
MAX_WORKERS = 1024
MAX_BOUND = 65_500  # the longest side that libjpeg writes


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise `ConfigError` unless `low <= value <= high`; `name` is the flag as the user typed it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{name} is {value!r}; it must be a number")
    if not low <= value <= high:
        shown = (
            f"{value:g}" if abs(value) < 1e300 or not isinstance(value, int) else "far too large"
        )
        raise ConfigError(
            f"{name} is {shown}; it must lie between {_plain(low)} and {_plain(high)}"
        )


def _as_paths(config: object, *names: str) -> None:
    """Let paths be given as text, as from a script of a few lines."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, str):
            object.__setattr__(config, name, Path(value))


def _plain(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def check_count(name: str, value: int, low: int, high: int) -> None:
    """Raise `ConfigError` unless `value` is a whole number and `low <= value <= high`."""
    check_range(name, value, low, high)
    if not isinstance(value, int):
        raise ConfigError(f"{name} is {value!r}; it must be a whole number")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise `ConfigError` unless `value` is one of the choices."""
    if value not in choices:
        raise ConfigError(f"{name} {value!r} is unknown; choose {', '.join(choices)}")


def check_pair(name: str, pair: tuple[float, float], low: float, high: float) -> None:
    """Raise `ConfigError` unless both numbers lie in `[low, high]` and stand in rising order."""
    for value in pair:
        check_range(name, value, low, high)
    if pair[0] > pair[1]:
        raise ConfigError(f"{name} is {pair[0]:g} {pair[1]:g}; the smaller number comes first")


@dataclass(frozen=True)
class Scheme:
    """How soft labels are kept (`fkd label --compress`) or read (`fkd train --compress`).

    The kinds are the four quantizers of FKD §3.3: `full`, `hard`, `smoothing` and `topk`. The two
    top-K forms of the paper store the same bytes and differ in `tail`, which is a choice of the
    reader: "renorm" is marginal re-norm, "smooth" is marginal smoothing.
    """

    kind: SchemeKind
    k: int = 0
    tail: Tail = "renorm"

    def __post_init__(self) -> None:
        if self.kind not in ("full", "hard", "smoothing", "topk"):
            raise ConfigError(f"scheme {self.kind!r} is unknown")
        if self.tail not in ("renorm", "smooth"):
            raise ConfigError(f"tail {self.tail!r} is unknown; choose renorm or smooth")
        if self.kind == "topk":
            check_count("the K of topkK", self.k, 1, 65_536)
        if self.kind == "smoothing":
            object.__setattr__(self, "k", 1)
            object.__setattr__(self, "tail", "smooth")

    @classmethod
    def parse(cls, text: str) -> "Scheme":
        """Read `full`, `hard`, `smooth`, `topkK` or `topkK-smooth`; anything else is refused."""
        if text in ("full", "hard"):
            return cls(text)  # type: ignore[arg-type]
        if text in ("smooth", "smoothing"):
            return cls("smoothing", 1, "smooth")
        match = re.fullmatch(r"topk([0-9]{1,5})(-smooth)?", text)
        if match is None or int(match[1]) == 0:
            raise ConfigError(
                f"--compress {text!r} is unknown; choose full, hard, smooth, topkK or topkK-smooth "
                "with K a number above 0 (topk5)"
            )
        return cls("topk", int(match[1]), "smooth" if match[2] else "renorm")

    def __str__(self) -> str:
        if self.kind == "topk":
            return f"topk{self.k}" + ("-smooth" if self.tail == "smooth" else "")
        return "smooth" if self.kind == "smoothing" else self.kind

    def kept(self, num_classes: int) -> int:
        """Classes kept per crop: K, but never more than there are."""
        return min(1 if self.kind in ("hard", "smoothing") else self.k, num_classes)

    @property
    def whole(self) -> "Scheme":
        """The reading that gives all that a store of this scheme keeps."""
        return replace(self, tail="smooth") if self.kind == "topk" else self

    def readings(self) -> str:
        """Name, for a message, every scheme that a store of this one can be read as."""
        if self.kind == "full":
            return "full, hard, smooth, topkK and topkK-smooth for any K"
        if self.kind == "hard":
            return "hard"
        if self.k == 1:
            return "hard, smooth, topk1 and topk1-smooth"
        return f"hard, smooth, topkK and topkK-smooth for K = 1 to {self.k}"

    def can_be_read_as(self, wanted: "Scheme") -> bool:
        """Say whether `wanted` follows from what this scheme keeps, without the teacher."""
        if self.kind == "full":
            return True
        if wanted.kind == "full" or self.kind == "hard":
            return wanted.kind == "hard"
        return wanted.kind == "hard" or wanted.k <= self.k


@dataclass(frozen=True)
class Rendering:
    """How a crop becomes a square view: its side in pixels, and the resampling."""

    size: int
    interpolation: Interpolation


@dataclass(frozen=True)
class Preprocessing:
    """What stands between a decoded image and a network: input size, normalisation, resampling.

    `mean` and `std` are per channel (R, G, B), for pixels scaled to [0, 1]. `size` is the side of
    the square input in pixels.
    """

    size: int = 224
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        check_count("--size", self.size, 1, MAX_SIZE)
        for value in self.mean:
            check_range("--mean", value, -10, 10)
        for value in self.std:
            check_range("--std", value, 1e-6, 100)
        check_choice("--interpolation", self.interpolation, INTERPOLATIONS)

    @property
    def rendering(self) -> Rendering:
        """The part that makes pixels; the rest is arithmetic on the device."""
        return Rendering(self.size, self.interpolation)


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
        check_count("--seed", self.seed, 0, MAX_SEED)
        check_pair("--scale", self.scale, 1e-6, 1.0)
        check_pair("--ratio", self.ratio, 1e-3, 1e3)


@dataclass(frozen=True)
class TeacherChoice:
    """Which teacher labels, and how its outputs meet the folder's classes.

    `name` is a torchvision model, `timm:NAME`, a .pt2 or TorchScript file, or `package.module:function`.
    `weights` is "default" (torchvision's download), "none" (random) or a state-dict file. The four
    optional fields override what the weights' own metadata says of their preprocessing.
    """

    name: str
    weights: str = "default"
    classes_file: Path | None = None
    all_classes: bool = False
    size: int | None = None
    mean: Triple | None = None
    std: Triple | None = None
    interpolation: Interpolation | None = None


@dataclass(frozen=True)
class Engine:
    """How a model is run: autocast precision and `torch.compile`."""

    amp: Amp = "off"
    compile: bool = False

    def __post_init__(self) -> None:
        check_choice("--amp", self.amp, AMPS)


@dataclass(frozen=True)
class LabelConfig:
    """One labelling run: `fkd label`. `num_crops` is M, `batch_size` counts views.

    The probabilities of several teachers are averaged; the student sees what the first one saw.
    """

    images: Path
    teacher: TeacherChoice | tuple[TeacherChoice, ...]
    out: Path = Path("labels.zarr")
    num_crops: int = 200
    views: ViewPolicy = field(default_factory=ViewPolicy)
    scheme: Scheme = Scheme("topk", 10)
    temperature: float = 1.0
    batch_size: int = 256
    workers: int = 2
    device: str = "auto"
    block_images: int | None = None
    max_bad: float = 0.01
    overwrite: bool = False
    engine: Engine = Engine()
    render: Render = "auto"

    @property
    def teachers(self) -> tuple[TeacherChoice, ...]:
        """The teachers, of which there may be one."""
        return self.teacher if isinstance(self.teacher, tuple) else (self.teacher,)

    def __post_init__(self) -> None:
        if not self.teachers:
            raise ConfigError("--teacher is missing; name at least one")
        check_count("--crops", self.num_crops, 1, MAX_CROPS)
        check_range("--temperature", self.temperature, 1e-3, 1e3)
        check_count("--batch-size", self.batch_size, 1, MAX_BATCH)
        check_count("--workers", self.workers, 1, MAX_WORKERS)
        check_range("--max-bad", self.max_bad, 0, 1)
        check_choice("--render", self.render, RENDERS)
        if self.block_images is not None:
            check_count("--block", self.block_images, 1, 65_536)
        if self.scheme.kind == "topk" and self.scheme.tail == "smooth":
            raise ConfigError(
                f"--compress {self.scheme}: a store keeps the same bytes for topk{self.scheme.k} and "
                f"{self.scheme}; store topk{self.scheme.k} and choose -smooth in `fkd train`"
            )


@dataclass(frozen=True)
class CheckConfig:
    """One check of a store: `fkd check`.

    `images` is where the images are, None for where the store says. `deep` reads them all and draws all
    views anew. `teacher` is asked again about `num_views` views, if one is given. `repair` sends damaged
    blocks back to `fkd label`.
    """

    store: Path
    images: Path | None = None
    deep: bool = False
    teacher: tuple[TeacherChoice, ...] = ()
    num_views: int = 512
    seed: int = 0
    repair: bool = False
    workers: int = 2
    device: str = "auto"

    def __post_init__(self) -> None:
        _as_paths(self, "store", "images")
        check_count("--views", self.num_views, 1, 10_000_000)
        check_count("--seed", self.seed, 0, MAX_SEED)
        check_count("--workers", self.workers, 1, MAX_WORKERS)


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
        check_choice("bound", self.bound, BOUNDS)
        check_count(f"--{self.bound}", self.pixels, 1, MAX_BOUND)
        check_count("--quality", self.quality, 1, 100)
        check_count("--workers", self.workers, 1, MAX_WORKERS)


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
        _as_paths(self, "store", "out", "images", "against")
        check_count("--samples", self.samples, 0, 100)
        check_count("--crops", self.crops, 1, 24)
        check_count("--seed", self.seed, 0, MAX_SEED)
