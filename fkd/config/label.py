"""One labelling run: `fkd label`."""

from dataclasses import dataclass, field
from pathlib import Path

from fkd.config.checks import (
    MAX_BATCH,
    MAX_CROPS,
    MAX_WORKERS,
    check_choice,
    check_count,
    check_range,
)
from fkd.config.groups import Part
from fkd.config.models import Engine, TeacherChoice
from fkd.config.scheme import Scheme, check_stored
from fkd.config.types import settle
from fkd.config.views import RENDERS, Render, ViewPolicy
from fkd.errors import ConfigError


@dataclass(frozen=True)
class LabelConfig:
    """One labelling run: `fkd label`. `num_crops` is M.

    `batch_size` counts views, and None follows from the device: 256 on a CUDA GPU, else 32.
    The probabilities of several teachers are averaged; the student sees what the first one saw.
    `part` says which images are labelled. With `unlabelled` they lie at any depth of the folder and have
    no classes: the labels are over the teacher's. Without `split`, `images` itself is taken, though a
    folder in it is named train. `class_names` is a file with a name to read for each class.
    """

    images: Path
    teacher: TeacherChoice | tuple[TeacherChoice, ...]
    out: Path = Path("labels.zarr")
    num_crops: int = 200
    views: ViewPolicy = field(default_factory=ViewPolicy)
    scheme: Scheme = Scheme("topk", 5, coarse=True)
    temperature: float = 1.0
    batch_size: int | None = None
    workers: int = 2
    device: str = "auto"
    block_images: int | None = None
    max_bad: float = 0.01
    overwrite: bool = False
    engine: Engine = Engine()
    render: Render = "auto"
    part: Part = Part()
    split: bool = True
    unlabelled: bool = False
    class_names: Path | None = None

    @property
    def teachers(self) -> tuple[TeacherChoice, ...]:
        """The teachers, of which there may be one."""
        return self.teacher if isinstance(self.teacher, tuple) else (self.teacher,)

    def __post_init__(self) -> None:
        settle(self)
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
        check_count("--crops", self.num_crops, 1, MAX_CROPS)
        check_range("--temperature", self.temperature, 1e-3, 1e3)
        if self.batch_size is not None:
            check_count("--batch-size", self.batch_size, 1, MAX_BATCH)
        check_count("--workers", self.workers, 1, MAX_WORKERS)
        check_range("--max-bad", self.max_bad, 0, 1)
        check_choice("--render", self.render, RENDERS)
        if self.block_images is not None:
            check_count("--block", self.block_images, 1, 65_536)
        check_stored(self.scheme)
