"""What a student is fed: which crops of a store, read as what, in which batches, rendered by whom.

`fkd train` and a loop of one's own read the same; how a student learns from it is `config.train`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, TypedDict

from fkd.config.checks import (
    MAX_BATCH,
    MAX_CROPS,
    MAX_SEED,
    MAX_SIZE,
    MAX_WORKERS,
    check_choice,
    check_count,
    check_range,
)
from fkd.config.groups import Part, Selection
from fkd.config.models import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, Triple
from fkd.config.scheme import Scheme
from fkd.config.sizes import ViewSizes
from fkd.config.types import Url, settle
from fkd.config.views import INTERPOLATIONS, RENDERS, Interpolation, Render, Size
from fkd.errors import ConfigError

MAX_STAGGER = 1000

# How labels are read where nobody says it, of a store that keeps as much.
USUAL_READING = Scheme("topk", 5)


class HottestLabel(NamedTuple):
    """The highest temperature that labels are brought to, and what asks for it, in words.

    `storable` says that labels of that temperature could be stored instead.
    """

    temperature: float
    asked: str
    storable: bool = True


@dataclass(frozen=True)
class LoaderConfig:
    """What is read from a store for a student. `batch_size` counts views, `crops_per_image` is m.

    Of the store's crops of each image the first `num_crops` are taken, M; None are all that it has when
    it is opened, and a store that has grown since is read as it was.
    The m crops of an image go to batches that are `stagger` steps apart, 0 for all in one batch as in the
    paper; None is 16 / m, at least 1. So (m - 1) · stagger batches wait in memory, of the device where
    that renders.
    `scheme` is how labels are read, refused where the store keeps less. None is topk5, or all that the
    store keeps where that is less.
    `size` is that of the student's views, a `ViewSizes` or what stands for one: 160, (160, 224),
    "160x224", or "128:224" for a run whose views grow, in sides that are multiples of `size_multiple`.
    None for it and for `interpolation` is the store's.
    `mean` and `std` normalise the student's pixels. `seed` is of the order of images. None for `images`
    takes them from where the store says that they are. `part` is of the store's images. Labelled images
    that are not there are refused, and with `drop_missing` left out.
    """

    store: Path | Url = Path("labels.zarr")
    images: Path | None = None
    crops_per_image: int = 4
    stagger: int | None = None
    num_crops: int | None = None
    scheme: Scheme | None = None
    label_temperature: float = 1.0
    selection: Selection = Selection()
    epochs: float = 300
    batch_size: int = 1024
    size: ViewSizes | None = None
    size_multiple: int = 32
    interpolation: Interpolation | None = None
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    seed: int = 0
    workers: int = 2
    device: str = "auto"
    render: Render = "auto"
    part: Part = Part()
    drop_missing: bool = False

    groups: ClassVar[Mapping[str, Any]] = {"part": Part, "selection": Selection}
    what: ClassVar[str] = "a loader"

    def __post_init__(self) -> None:
        settle(self)
        Preprocessing(mean=self.mean, std=self.std)
        check_count("--crops-per-image", self.crops_per_image, 1, MAX_CROPS)
        if self.num_crops is not None:
            check_count("--crops", self.num_crops, 1, MAX_CROPS)
        if self.stagger is not None:
            check_count("--stagger", self.stagger, 0, MAX_STAGGER)
        check_range("--label-temperature", self.label_temperature, 1e-3, 1e3)
        check_range("--epochs", self.epochs, 1e-6, 1e6)
        check_count("--batch-size", self.batch_size, 1, MAX_BATCH)
        check_count("--size-multiple", self.size_multiple, 1, MAX_SIZE)
        if self.size is not None:
            self.size.check("--size", self.size_multiple)
        if self.interpolation is not None:
            check_choice("--interpolation", self.interpolation, INTERPOLATIONS)
        check_count("--seed", self.seed, 0, MAX_SEED)
        check_count("--workers", self.workers, 1, MAX_WORKERS)
        check_choice("--render", self.render, RENDERS)

    @property
    def steps_apart(self) -> int:
        """Steps between the batches that get the m crops of an image, as far as the run is that long."""
        return max(1, 16 // self.crops_per_image) if self.stagger is None else self.stagger

    @property
    def reading(self) -> Scheme:
        """How labels are read, as far as it is known without the store."""
        return USUAL_READING if self.scheme is None else self.scheme

    @property
    def label_temperatures(self) -> tuple[float, ...]:
        """The temperatures at which stored labels are read."""
        return (self.label_temperature,)

    @property
    def hottest_label(self) -> "HottestLabel":
        """The highest temperature that stored labels are brought to."""
        asked = f"--label-temperature {self.label_temperature:g}"
        return HottestLabel(self.label_temperature, asked)

    @classmethod
    def of(cls, **settings: Any) -> Self:
        """Build a configuration of settings by their names here or in a group.

        Raises `ConfigError` for a setting that is not known, and for a value that cannot be.
        """
        given = [name for name in cls.groups if name in settings]
        if given:
            raise ConfigError(f"{given[0]} is a group; give its settings by their own names")
        groups: dict[str, Any] = {}
        for name, group in cls.groups.items():
            names = [f.name for f in fields(group) if f.name in settings]
            groups[name] = group(**{key: settings.pop(key) for key in names})
        unknown = set(settings) - {f.name for f in fields(cls)}
        if unknown:
            meant = {n for one in unknown for n in get_close_matches(one, cls.names(), 1)}
            perhaps = f" (perhaps {', '.join(sorted(meant))}?)" if meant else ""
            raise ConfigError(
                f"{', '.join(sorted(unknown))} is no setting of {cls.what}{perhaps}; it knows "
                f"{', '.join(cls.names())}"
            )
        return cls(**settings, **groups)

    def settings(self) -> dict[str, Any]:
        """Return all settings by name as plain JSON values, groups unfolded."""
        flat: dict[str, Any] = {}
        for name, value in asdict(self).items():
            flat |= value if name in self.groups else {name: value}
        flat["scheme"] = None if self.scheme is None else str(self.scheme)
        flat["size"] = None if self.size is None else str(self.size)
        return {name: str(v) if isinstance(v, Path) else v for name, v in flat.items()}

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of all settings, groups unfolded."""
        own = {f.name for f in fields(cls)} - set(cls.groups)
        return sorted(own.union(*({f.name for f in fields(g)} for g in cls.groups.values())))


class DatasetSettings(TypedDict, total=False):
    """The settings that one image and its crops depend on, by name, groups unfolded."""

    images: str | Path | None
    drop_missing: bool
    subset: str | float | Path | None
    classes: str | Path | None
    crops_per_image: int
    num_crops: int | None
    scheme: str | Scheme | None
    label_temperature: float
    size: ViewSizes | Size | str | None
    interpolation: Interpolation | None
    calibrate: bool
    unsure_below: float
    unsure_smoothing: float


class LoaderSettings(DatasetSettings, total=False):
    """The settings of a `LoaderConfig` but for its store, by name, groups unfolded."""

    stagger: int | None
    epochs: float
    batch_size: int
    size_multiple: int
    mean: Sequence[float]
    std: Sequence[float]
    seed: int
    workers: int
    device: str
    render: Render
    min_confidence: float
    max_entropy: float | None
    sure_above: float
    sure_every: int
