"""`fkd export`: the student alone, with its preprocessing and classes, for other programs."""

import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from fkd.config import (
    EXPORT_FORMATS,
    ExportFormat,
    check_choice,
    fit,
    sides_of,
)
from fkd.errors import ConfigError, ModelError, first_line
from fkd.machine import sync, write_whole
from fkd.models import classes_of
from fkd.progress import note
from fkd.students.checkpoints import announce_student
from fkd.students.files import BEST, LAST, PREVIOUS, checkpoint_file
from fkd.students.packaged import Packaged, packaged_without_head
from fkd.students.sidecar import EXPORT_KEY, EXPORT_PROPERTY, Sidecar
from fkd.students.student import StudentCard

_BATCH = 3  # views that the student and its file are both run on
_TOLERANCE = 1e-3

# What torch says of itself while it exports: nobody's model is at fault, and nobody can mend it.
_OF_TORCH = (
    ("_check_is_size will be removed", FutureWarning),
    (
        r"The tensor attributes? (self\.[\w.]*\b_flat_weights\[\d+\](, )?)+ (was|were) assigned",
        UserWarning,
    ),
)


@dataclass(frozen=True)
class Exported:
    """The file that was written, and how far its outputs are from the student's, at most.

    `largest` is the absolute value of the student's largest output. Outputs are logits or, without the
    head or where it learned no classes, as many `features`. With `maps` they are at each pixel of a view,
    with `lines` at each frame of a line.
    """

    path: Path
    difference: float
    largest: float
    features: int | None = None
    maps: bool = False
    lines: bool = False

    @property
    def relative(self) -> float:
        """The difference as a share of the largest output."""
        return self.difference / self.largest if self.largest else self.difference


def export_student(
    checkpoint: str | Path,
    format: ExportFormat = "torch",
    out: str | Path | None = None,
    *,
    head: bool = True,
    ema: bool = False,
    student: str | None = None,
) -> Exported:
    """Write the student of a checkpoint, or of a run's best, and check that the file gives its outputs.

    "torch" is a plain state dict, which torchvision and timm load as it is. "onnx" and "pt2"
    (torch.export) are programs: they take pixels in [0, 1], f32 [B, 3, H, W] with any B, of the size that
    the student is evaluated at, and normalise them. Of a student of maps they return logits as large as
    the views, f32 [B, C, H, W], and of one of lines [B, T, C]. Without its `head`, the last linear layer,
    a student returns its features, f32 [B, D], in the place of logits; where they are of each frame or
    token, a program returns their mean, and the network of a state dict says all. `student` names one
    where a run has several, whose first is taken without it. The student's preprocessing and classes, as
    JSON, are inside a program, and in a .json beside a state dict, with the SHA-256 of that file. Raises
    `ModelError` where the file's outputs differ, and `ConfigError` where `out` cannot be written or a
    library is missing.
    """
    check_choice("--format", format, EXPORT_FORMATS)
    file = checkpoint_file(checkpoint)
    exporter = _EXPORTERS[format]
    stem = ("student" if head else "features") + ("" if student is None else f"-{student}")
    path = fit("out", out, Path | None) or file.parent / f"{stem}{exporter.suffix}"
    card, network = announce_student(file, ema=ema, student=student)
    _refuse_place(path, format)
    sides = sides_of(card.center_view.size)
    pixels = torch.rand(_BATCH, 3, *sides, generator=torch.Generator().manual_seed(0))
    if head:
        _say_if_it_says_nothing(card)
        model = Packaged(network, card).eval()
        with torch.inference_mode():
            expected = model(pixels)
    else:
        model, expected = packaged_without_head(network, card, pixels)
    about = Sidecar(card)
    if not (head and card.learned_classes):  # whoever labels with it must not take them for classes
        card = replace(card, classes=(), titles=None, lines=card.lines and head)
        about = Sidecar(card, classes_of(expected))
    if not expected.isfinite().all():
        raise ModelError(
            f"{checkpoint}: the student's {model.returns} are not finite; export another checkpoint"
        )
    try:
        with TemporaryDirectory(prefix=".export-", dir=path.parent) as scratch:
            aside = Path(scratch) / path.name
            outputs = _write_and_run(model, about, pixels, aside, format)
            difference = float((outputs - expected).abs().max())
            largest = float(expected.abs().max())
            if not difference <= _TOLERANCE * max(1.0, largest):
                raise ModelError(
                    f"{path} was not written: its {model.returns} would differ from the student's by "
                    f"{difference:.3g}; use another --format"
                )
            _put(aside, path, about if format == "torch" else None)
    except OSError as error:
        raise ConfigError(f"--out {path} cannot be written ({error})") from error
    return Exported(path, difference, largest, about.features, card.maps, card.lines)


def _say_if_it_says_nothing(card: StudentCard) -> None:
    if not card.learned_classes:
        note(
            "warning: no loss was on classes, so the student's outputs name none; --without-head writes "
            "what goes into its last linear layer"
        )


def _put(aside: Path, path: Path, about: Sidecar | None) -> None:
    """Put a finished file in its place and, where it cannot hold what is known, a .json beside it.

    The .json of an older file goes first, so that a stop in between leaves none rather than a wrong one.
    """
    text = ""
    if about is not None:
        with aside.open("rb") as file:
            identity = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        text = about.text(weights=identity) + "\n"
        path.with_suffix(".json").unlink(missing_ok=True)
    sync([aside], aside.parent)
    aside.replace(path)
    if about is not None:
        write_whole(path.with_suffix(".json"), text.encode())


def _write_and_run(
    model: Packaged, about: Sidecar, pixels: Tensor, path: Path, format: ExportFormat
) -> Tensor:
    exporter = _EXPORTERS[format]
    try:
        with _without_torchs_own_warnings():
            exporter.write(model, about, pixels, path)
        return exporter.run(model, pixels, path)
    except ImportError as error:
        raise ConfigError(
            f"--format {format} needs {error.name}: `pip install onnx onnxscript onnxruntime`"
        ) from error
    except OSError:
        raise
    except Exception as error:  # exporters raise whatever they like on what they do not know
        raise ModelError(
            f"student {about.card.name} cannot be exported as {format} ({first_line(error)}); "
            "use another --format"
        ) from error


@contextmanager
def _without_torchs_own_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        for message, category in _OF_TORCH:
            warnings.filterwarnings("ignore", message, category)
        yield


def _refuse_place(path: Path, format: ExportFormat) -> None:
    """Refuse a path that cannot be written, and one whose file, or .json, a run needs."""
    names = {path.name, path.with_suffix(".json").name if format == "torch" else path.name}
    if path.is_dir():
        raise ConfigError(f"--out {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise ConfigError(f"--out {path}: the folder {path.parent} does not exist; make it first")
    taken = names & {"config.json", LAST, PREVIOUS, BEST}
    if taken or (format == "torch" and path.suffix == ".json"):
        raise ConfigError(f"--out {path} would overwrite a file of a run; choose another name")


@dataclass(frozen=True)
class _Exporter:
    """How a format is written, and how its file is run on pixels, f32 [B, 3, H, W]."""

    suffix: str
    write: Callable[[Packaged, Sidecar, Tensor, Path], None]
    run: Callable[[Packaged, Tensor, Path], Tensor]


def _write_torch(model: Packaged, about: Sidecar, pixels: Tensor, path: Path) -> None:
    state = {name: value.contiguous() for name, value in model.student.state_dict().items()}
    torch.save(state, path)


def _run_torch(model: Packaged, pixels: Tensor, path: Path) -> Tensor:
    model.student.load_state_dict(torch.load(path, weights_only=True))
    with torch.inference_mode():
        logits: Tensor = model(pixels)
    return logits


def _write_pt2(model: Packaged, about: Sidecar, pixels: Tensor, path: Path) -> None:
    batch = {"pixels": {0: torch.export.Dim("batch")}}
    program = torch.export.export(model, (pixels,), dynamic_shapes=batch)
    torch.export.save(program, path, extra_files={EXPORT_KEY: about.as_run().text()})


def _run_pt2(model: Packaged, pixels: Tensor, path: Path) -> Tensor:
    program: Any = torch.export.load(path).module()
    with torch.inference_mode():
        logits: Tensor = program(pixels)
    return logits


def _write_onnx(model: Packaged, about: Sidecar, pixels: Tensor, path: Path) -> None:
    import onnx

    batch = {"pixels": {0: torch.export.Dim("batch")}}
    torch.onnx.export(
        model, (pixels,), path, input_names=["pixels"], output_names=[model.returns],
        dynamic_shapes=batch, external_data=False, dynamo=True, verbose=False,
    )  # fmt: skip
    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, {EXPORT_PROPERTY: about.as_run().text()})
    onnx.save(graph, path)


def _run_onnx(model: Packaged, pixels: Tensor, path: Path) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"pixels": pixels.numpy()})[0])


_EXPORTERS: dict[ExportFormat, _Exporter] = {
    "torch": _Exporter(".pth", _write_torch, _run_torch),
    "onnx": _Exporter(".onnx", _write_onnx, _run_onnx),
    "pt2": _Exporter(".pt2", _write_pt2, _run_pt2),
}
