"""Which teacher labels, what a network sees, how it is run, and in which formats it is exported."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fkd.config.checks import MAX_SIZE, check_choice, check_count, check_range
from fkd.config.types import settle
from fkd.config.views import (
    INTERPOLATIONS,
    CenterView,
    Fit,
    Interpolation,
    Size,
    ViewFormat,
    as_size,
    sides_of,
    usual_crop,
)
from fkd.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Amp = Literal["off", "bf16", "fp16"]
AMPS: tuple[Amp, ...] = ("off", "bf16", "fp16")

TeacherOutput = Literal["logits", "probs"]
TEACHER_OUTPUTS: tuple[TeacherOutput, ...] = ("logits", "probs")

ExportFormat = Literal["torch", "onnx", "pt2"]
EXPORT_FORMATS: tuple[ExportFormat, ...] = ("torch", "onnx", "pt2")

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class NetworkInput:
    """What stands between a decoded image and a network: input size, normalisation, resampling.

    `mean` and `std` are per channel (R, G, B), for pixels scaled to [0, 1]. `size` is the side of a
    square input in pixels, or its height and width.
    """

    size: Size = 224
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        settle(self)
        object.__setattr__(self, "size", as_size(*sides_of(self.size)))
        for side in sides_of(self.size):
            check_count("--size", side, 1, MAX_SIZE)
        for value in self.mean:
            check_range("--mean", value, -10, 10)
        for value in self.std:
            check_range("--std", value, 1e-6, 100)
        check_choice("--interpolation", self.interpolation, INTERPOLATIONS)

    @property
    def view_format(self) -> ViewFormat:
        """The part that makes pixels; the rest is arithmetic on the device."""
        return ViewFormat(self.size, self.interpolation)

    @property
    def center_view(self) -> CenterView:
        """How a network with this input is evaluated where nobody says another way."""
        return self.center_view_of("fill")

    def center_view_of(self, fit: Fit) -> CenterView:
        """Return the same of a network whose views fit so: padded, they are of whole images."""
        crop = 1.0 if fit == "pad" else usual_crop(self.size)
        return CenterView(self.size, self.interpolation, crop, fit)


@dataclass(frozen=True)
class Preprocessing(NetworkInput):
    """The input of a teacher."""


@dataclass(frozen=True)
class TeacherChoice:
    """Which teacher labels, and how its outputs meet the folder's classes.

    `name` is a torchvision model, `timm:NAME`, `hf:NAME` or `hf:FOLDER`, a run or a checkpoint of `fkd
    train`, a .pt2, TorchScript or .onnx file, or `package.module:function`.
    `weights` is "default" (torchvision's download), "none" (random), or a file: a state dict, or a
    checkpoint that holds one. `ema` takes the moving average of the weights from it, or from the run. The
    four optional fields override what the weights' own metadata says of their preprocessing. `output`
    says what the model returns: "logits", or "probs", probabilities whose logarithms are then the logits.
    """

    name: str
    weights: str = "default"
    classes_file: Path | None = None
    all_classes: bool = False
    size: Size | None = None
    mean: Triple | None = None
    std: Triple | None = None
    interpolation: Interpolation | None = None
    ema: bool = False
    output: TeacherOutput = "logits"

    def __post_init__(self) -> None:
        settle(self)
        seen = Preprocessing(
            Preprocessing.size if self.size is None else self.size,
            IMAGENET_MEAN if self.mean is None else self.mean,
            IMAGENET_STD if self.std is None else self.std,
            "bilinear" if self.interpolation is None else self.interpolation,
        )
        object.__setattr__(self, "size", None if self.size is None else seen.size)
        check_choice("--teacher-output", self.output, TEACHER_OUTPUTS)
        if self.ema and self.weights == "none":
            raise ConfigError(
                f"--teacher-ema needs --teacher-weights FILE for teacher {self.name}; random weights "
                "have no moving average"
            )

    @classmethod
    def parse(cls, name: str) -> "TeacherChoice":
        """Return the teacher of a name, with its default weights."""
        return cls(name)


@dataclass(frozen=True)
class Engine:
    """How a model is run: autocast precision and `torch.compile`."""

    amp: Amp = "off"
    compile: bool = False

    def __post_init__(self) -> None:
        settle(self)
        check_choice("--amp", self.amp, AMPS)
