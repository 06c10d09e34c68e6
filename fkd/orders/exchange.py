"""Labels that come from other programs, and go to them: `fkd import` and `fkd export-labels`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fkd.config import (
    INTERPOLATIONS,
    MAX_CROPS,
    MAX_SIZE,
    MAX_WORKERS,
    Interpolation,
    Scheme,
    check_choice,
    check_count,
    check_range,
    settle,
)
from fkd.errors import ConfigError

LabelFormat = Literal["fkd"]
LABEL_FORMATS: tuple[LabelFormat, ...] = ("fkd",)

# What FKD's loader calls the kinds of its labels.
FkdKind = Literal["hard", "smoothing", "marginal_smoothing_k5", "marginal_smoothing_k10", "ori"]
FKD_KINDS: tuple[FkdKind, ...] = (
    "hard", "smoothing", "marginal_smoothing_k5", "marginal_smoothing_k10", "ori",
)  # fmt: skip

FloatType = Literal["f4", "f2"]
FLOAT_TYPES: tuple[FloatType, ...] = ("f4", "f2")


@dataclass(frozen=True)
class ImportConfig:
    """One label set of another program made a store: `fkd import`.

    `images` are those that were labelled, or resized copies of them where the format has boxes as shares
    of an image's sides. `teacher` is a name for the record. `num_crops` M and `scheme` are what the files
    hold where they are None. `classes_file` has the name of each class id, in order; without it the ids
    are the class folders in order. `size` and `interpolation` are what a student sees. More than the
    share `max_bad` of images without labels is refused.
    """

    labels: Path
    images: Path
    out: Path = Path("labels.zarr")
    format: LabelFormat = "fkd"
    teacher: str = "unknown"
    num_crops: int | None = None
    scheme: Scheme | None = None
    classes_file: Path | None = None
    class_names: Path | None = None
    size: int = 224
    interpolation: Interpolation = "bilinear"
    workers: int = 2
    max_bad: float = 0.0
    overwrite: bool = False
    split: bool = True

    def __post_init__(self) -> None:
        settle(self)
        check_choice("--format", self.format, LABEL_FORMATS)
        if not self.teacher:
            raise ConfigError("--teacher is empty; give a name for the record, or leave it out")
        if self.num_crops is not None:
            check_count("--crops", self.num_crops, 1, MAX_CROPS)
        if self.scheme is not None and (self.scheme.kind == "samples" or _reads(self.scheme)):
            raise ConfigError(
                f"--compress {self.scheme} cannot be stored of labels that were kept before; choose "
                "full, full-8bit, hard, smooth, topkK or topkK-coarse, or leave it out"
            )
        check_count("--size", self.size, 1, MAX_SIZE)
        check_choice("--interpolation", self.interpolation, INTERPOLATIONS)
        check_count("--workers", self.workers, 1, MAX_WORKERS)
        check_range("--max-bad", self.max_bad, 0, 1)


def _reads(scheme: Scheme) -> bool:
    """Say whether it is a way to read labels, which a store does not keep."""
    return scheme.kind == "topk" and scheme.tail == "smooth"


@dataclass(frozen=True)
class ExportLabelsConfig:
    """One store made a label set of another program: `fkd export-labels`.

    `kind` is what the labels become; None takes the richest one that the store can give. `dtype` is the
    type of their numbers: "f4", or "f2", which rounds boxes and probabilities.
    """

    store: Path
    out: Path
    format: LabelFormat = "fkd"
    kind: FkdKind | None = None
    dtype: FloatType = "f4"
    workers: int = 2

    def __post_init__(self) -> None:
        settle(self)
        check_choice("--format", self.format, LABEL_FORMATS)
        if self.kind is not None:
            check_choice("--kind", self.kind, FKD_KINDS)
        check_choice("--dtype", self.dtype, FLOAT_TYPES)
        check_count("--workers", self.workers, 1, MAX_WORKERS)
