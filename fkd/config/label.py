"""One labelling run: `fkd label`."""

from dataclasses import dataclass, field
from pathlib import Path

from fkd.config.checks import (
    MAX_BATCH,
    MAX_CROPS,
    MAX_SIZE,
    MAX_WORKERS,
    check_choice,
    check_count,
    check_range,
)
from fkd.config.groups import Part
from fkd.config.models import Amp, Engine, TeacherChoice
from fkd.config.scheme import Scheme, check_stored
from fkd.config.targets import (
    Target,
    VectorScheme,
    as_targets,
    as_vector_scheme,
    check_targets,
)
from fkd.config.types import Url, settle
from fkd.config.views import RENDERS, Render, ViewPolicy
from fkd.errors import ConfigError

USUAL_CROPS = 200
USUAL_SCHEME = Scheme("topk", 5, coarse=True)

# Of maps, on CamVid with 11 and 19 classes: topk3-coarse gives up KL 0.008 to 0.014 nats a cell in 1.5 to
# 1.6 bytes, topk5-coarse 0.002 to 0.004 in 2.4 to 2.6, and students of topk1 to full are equally good.
USUAL_MAP_SCHEME = Scheme("topk", 3, coarse=True)

# Measured on 1,600 crops of 200 photos, with a MobileNetV2 of 1000 classes: top-5 gives up KL 0.35 nats
# of plain views' labels in 6.7 bytes a crop. Of views mixed by mixup and cutmix it gives up 0.50 in 8.6
# bytes, top-10 0.33 in 16.8, top-20 0.22 in 33.6 and top-50 0.12 in 81.9: a mix has the classes of two
# images.
USUAL_MIXED_SCHEME = Scheme("topk", 10, coarse=True)

# Of a mean of labels, for a teacher that joins others and for them.
MIN_SHARE = 1e-3


@dataclass(frozen=True)
class LabelConfig:
    """One labelling run: `fkd label`. `num_crops` is M; None is what the store has, or 200 for a new one.

    `batch_size` counts views, and None follows from the device: 256 on a CUDA GPU, else 32.
    The probabilities of several teachers are averaged; the student sees what the first one saw.
    `part` says which images are labelled. With `unlabelled` they lie at any depth of the folder and have
    no classes: the labels are over the teacher's. Without `split`, `images` itself is taken, though a
    folder in it is named train. `class_names` is a file with a name to read for each class.
    With `grow`, images that the store at `out` does not have yet are labelled into it. `scheme` is how
    labels are kept; None is `USUAL_SCHEME`, `USUAL_MAP_SCHEME` of maps, or `USUAL_MIXED_SCHEME` where
    views are mixed. `targets` are vectors that are kept beside them. A `scheme` of vectors ("int8") is
    short for no labels and one target of it, the teacher's output. Of a teacher that says maps, a cell of
    the labels' grid is of `map_stride` pixels of a view in each direction, None keeps the teacher's own.
    """

    images: Path
    teacher: TeacherChoice | tuple[TeacherChoice, ...]
    out: Path = Path("labels.zarr")
    num_crops: int | None = None
    views: ViewPolicy = field(default_factory=ViewPolicy)
    scheme: Scheme | VectorScheme | None = None
    temperature: float = 1.0
    batch_size: int | None = None
    workers: int = 2
    device: str = "auto"
    block_images: int | None = None
    max_bad: float = 0.01
    overwrite: bool = False
    grow: bool = False
    engine: Engine = Engine()
    render: Render = "auto"
    part: Part = Part()
    split: bool = True
    unlabelled: bool = False
    class_names: Path | None = None
    targets: tuple[Target, ...] = ()
    map_stride: int | None = None

    @property
    def teachers(self) -> tuple[TeacherChoice, ...]:
        """The teachers, of which there may be one."""
        return self.teacher if isinstance(self.teacher, tuple) else (self.teacher,)

    @property
    def crops(self) -> int:
        """M, as far as no store says it."""
        return USUAL_CROPS if self.num_crops is None else self.num_crops

    @property
    def kept(self) -> Scheme:
        """How labels are kept, as far as it is known before the teachers are: they may say maps.

        Those of mixed views are flatter, and keep more classes.
        """
        usual = USUAL_MIXED_SCHEME if self.views.mix.mixes else USUAL_SCHEME
        assert not isinstance(self.scheme, VectorScheme)  # `__post_init__` made a target of it
        return usual if self.scheme is None else self.scheme

    def __post_init__(self) -> None:
        vector = as_vector_scheme(self.scheme)
        if vector is not None:
            of_output = Target(keep=vector)
            object.__setattr__(self, "targets", (of_output, *as_targets(self.targets)))
            object.__setattr__(self, "scheme", Scheme("none"))
        settle(self)
        check_targets(self.targets, len(self.teachers))
        if self.kept.kind == "none" and not self.targets:
            raise ConfigError(
                "--compress none keeps no labels; say which vectors to keep (--features LAYER, or "
                "--compress int8 for the teacher's output)"
            )
        if self.out.name.lower().endswith(".zip") and not self.out.is_dir():
            raise ConfigError(
                f"--out {self.out}: labels are written to a folder; make the archive from it with "
                "`fkd copy`"
            )
        if not self.teachers:
            raise ConfigError("--teacher is missing; name at least one")
        if self.unlabelled and self.part.classes is not None:
            raise ConfigError(
                f"--classes {self.part.classes} does nothing with --unlabelled, which takes no classes"
            )
        if self.unlabelled and any(teacher.all_classes for teacher in self.teachers):
            raise ConfigError(
                "--all-classes does nothing with --unlabelled, which keeps all anyway"
            )
        if self.grow and self.overwrite:
            raise ConfigError("--grow goes on with a store, --overwrite starts anew; leave one out")
        check_count("--crops", self.crops, 1, MAX_CROPS)
        if self.map_stride is not None:
            check_count("--map-stride", self.map_stride, 1, MAX_SIZE)
            if self.kept.kind == "none":
                raise ConfigError(
                    f"--map-stride {self.map_stride} is of labels, and none are kept; leave it out"
                )
        check_range("--temperature", self.temperature, 1e-3, 1e3)
        _check_work(self.batch_size, self.workers, self.block_images, self.render)
        check_range("--max-bad", self.max_bad, 0, 1)
        check_stored(self.kept)


@dataclass(frozen=True)
class AddTeacherConfig:
    """Teachers join those of a finished store, in a new one: `fkd label --add-teacher`.

    They label the views of the store `to`, and `out` holds the mean of their labels and its own. `weight`
    is the share that those who join have together; None counts each as much as one of the others.
    None for `images` takes them from where the store says that they are. `scheme` is how the mean is
    kept, None as in the store. `amp` must be that of the store, which None is.
    """

    to: Path | Url
    teacher: TeacherChoice | tuple[TeacherChoice, ...]
    out: Path
    images: Path | None = None
    weight: float | None = None
    scheme: Scheme | None = None
    batch_size: int | None = None
    workers: int = 2
    device: str = "auto"
    block_images: int | None = None
    overwrite: bool = False
    amp: Amp | None = None
    compile: bool = False
    render: Render = "auto"

    @property
    def teachers(self) -> tuple[TeacherChoice, ...]:
        """The teachers that join, of which there may be one."""
        return self.teacher if isinstance(self.teacher, tuple) else (self.teacher,)

    def __post_init__(self) -> None:
        settle(self)
        if not self.teachers:
            raise ConfigError("--add-teacher is missing; name at least one")
        for teacher in self.teachers:
            if teacher.all_classes:
                raise ConfigError(
                    "--all-classes does nothing with --add-teacher: the classes are the store's"
                )
        if self.weight is not None:
            check_range("--weight", self.weight, MIN_SHARE, 1 - MIN_SHARE)
        if self.scheme is not None:
            check_stored(self.scheme)
        _check_work(self.batch_size, self.workers, self.block_images, self.render)


def _check_work(
    batch_size: int | None, workers: int, block_images: int | None, render: Render
) -> None:
    """Raise `ConfigError` for what no labelling run can do its work with."""
    if batch_size is not None:
        check_count("--batch-size", batch_size, 1, MAX_BATCH)
    check_count("--workers", workers, 1, MAX_WORKERS)
    check_choice("--render", render, RENDERS)
    if block_images is not None:
        check_count("--block", block_images, 1, 65_536)
