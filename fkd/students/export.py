"""`fkd export`: the student alone, with its preprocessing and classes, for other programs."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from fkd.config import (
    EXPORT_FORMATS,
    ExportFormat,
    NetworkInput,
    as_size,
    check_choice,
    fit,
    sides_of,
)
from fkd.errors import ConfigError, ModelError, first_line
from fkd.machine import sync, write_whole
from fkd.models import find_logits
from fkd.students.checkpoints import announce_student
from fkd.students.files import BEST, LAST, PREVIOUS, checkpoint_file
from fkd.students.student import StudentCard
from fkd.views import resized_side

_BATCH = 3  # views that the student and its file are both run on
_TOLERANCE = 1e-3

# Where a program has what `sidecar` says: a file in an exported program, a property of an ONNX file.
EXPORT_KEY, EXPORT_PROPERTY = "fkd.json", "fkd"


@dataclass(frozen=True)
class Exported:
    """The file that was written, and how far its logits are from the student's, at most."""

    path: Path
    difference: float


class Packaged(nn.Module):
    """A student that takes pixels in [0, 1], f32 [B, 3, H, W], and normalises them itself."""

    def __init__(self, student: nn.Module, card: StudentCard) -> None:
        super().__init__()
        self.student = student
        mean, std = (torch.tensor(v) for v in (card.preprocessing.mean, card.preprocessing.std))
        self.scale = nn.Buffer((1 / std).view(3, 1, 1))
        self.shift = nn.Buffer((-mean / std).view(3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits, f32 [B, C]."""
        answer = self.student(pixels * self.scale + self.shift)
        logits: Tensor = find_logits(answer, pixels.shape[0], "the student")  # len() is a constant
        return logits


def export_student(
    checkpoint: str | Path,
    format: ExportFormat = "torch",
    out: str | Path | None = None,
    *,
    ema: bool = False,
    student: str | None = None,
) -> Exported:
    """Write the student of a checkpoint, or of a run's best, and check that the file gives its logits.

    "torch" is a plain state dict, which torchvision and timm load as it is. "onnx" and "pt2"
    (torch.export) are programs: they take pixels in [0, 1], f32 [B, 3, H, W] with any B, of the size that
    the student is evaluated at, and normalise them. `student` names one where a run has several, whose
    first is taken without it. The student's preprocessing and classes, as JSON, are
    inside a program, and in a .json beside a state dict, with the SHA-256 of that file. Raises
    `ModelError` where the file's logits differ, and `ConfigError` where `out` cannot be written or a
    library is missing.
    """
    check_choice("--format", format, EXPORT_FORMATS)
    file = checkpoint_file(checkpoint)
    stem = "student" if student is None else f"student-{student}"
    path = fit("out", out, Path | None) or file.parent / f"{stem}{_EXPORTERS[format].suffix}"
    card, network = announce_student(file, ema=ema, student=student)
    _refuse_place(path, format)
    sides = sides_of(card.center_view.size)
    pixels = torch.rand(_BATCH, 3, *sides, generator=torch.Generator().manual_seed(0))
    model = Packaged(network, card).eval()
    with torch.inference_mode():
        expected = model(pixels)
    if not expected.isfinite().all():
        raise ModelError(
            f"{checkpoint}: the student's logits are not finite; export another checkpoint"
        )
    try:
        with TemporaryDirectory(prefix=".export-", dir=path.parent) as scratch:
            aside = Path(scratch) / path.name
            logits = _write_and_run(model, card, pixels, aside, format)
            difference = float((logits - expected).abs().max())
            if not difference <= _TOLERANCE * max(1.0, float(expected.abs().max())):
                raise ModelError(
                    f"{path} was not written: its logits would differ from the student's by "
                    f"{difference:.3g}; use another --format"
                )
            _put(aside, path, card if format == "torch" else None)
    except OSError as error:
        raise ConfigError(f"--out {path} cannot be written ({error})") from error
    return Exported(path, difference)


def _put(aside: Path, path: Path, card: StudentCard | None) -> None:
    """Put a finished file in its place and, where it cannot hold the `card`, a .json beside it.

    The .json of an older file goes first, so that a stop in between leaves none rather than a wrong one.
    """
    if card is not None:
        with aside.open("rb") as file:
            identity = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        about = sidecar(card, weights=identity) + "\n"
        path.with_suffix(".json").unlink(missing_ok=True)
    sync([aside], aside.parent)
    aside.replace(path)
    if card is not None:
        write_whole(path.with_suffix(".json"), about.encode())


def _write_and_run(
    model: Packaged, card: StudentCard, pixels: Tensor, path: Path, format: ExportFormat
) -> Tensor:
    exporter = _EXPORTERS[format]
    try:
        exporter.write(model, card, pixels, path)
        return exporter.run(model, pixels, path)
    except ImportError as error:
        raise ConfigError(
            f"--format {format} needs {error.name}: `pip install onnx onnxscript onnxruntime`"
        ) from error
    except OSError:
        raise
    except Exception as error:  # exporters raise whatever they like on what they do not know
        raise ModelError(
            f"student {card.name} cannot be exported as {format} ({first_line(error)}); "
            "use another --format"
        ) from error


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


def sidecar(card: StudentCard, **more: str) -> str:
    """Return what other programs must know of the student, as JSON: preprocessing and classes.

    Of `evaluation`, `resize` is the side that an image's shorter side is resized to; where views are not
    square, both sides that it must cover.
    """
    view = card.center_view
    resized = as_size(*(resized_side(side, view.crop) for side in sides_of(view.size)))
    content = {
        "name": card.name,
        "preprocessing": asdict(card.preprocessing),
        "evaluation": {"resize": resized, "center_crop": view.size, "crop_pct": view.crop},
        "classes": card.classes,
        **({} if card.titles is None else {"titles": card.titles}),
        **more,
    }
    return json.dumps(content)


def read_sidecar(text: str) -> StudentCard | None:
    """Read what `sidecar` returned; anything else says nothing of a student."""
    try:
        content = json.loads(text)
        preprocessing = NetworkInput(**content["preprocessing"])
        return StudentCard(str(content["name"]), tuple(map(str, content["classes"])), preprocessing)
    except (ConfigError, KeyError, TypeError, ValueError):
        return None


def _as_run(card: StudentCard) -> StudentCard:
    """Return what a program has: its input is of the size that it was exported at, and no other."""
    return replace(card, preprocessing=replace(card.preprocessing, size=card.center_view.size))


@dataclass(frozen=True)
class _Exporter:
    """How a format is written, and how its file is run on pixels, f32 [B, 3, H, W]."""

    suffix: str
    write: Callable[[Packaged, StudentCard, Tensor, Path], None]
    run: Callable[[Packaged, Tensor, Path], Tensor]


def _write_torch(model: Packaged, card: StudentCard, pixels: Tensor, path: Path) -> None:
    state = {name: value.contiguous() for name, value in model.student.state_dict().items()}
    torch.save(state, path)


def _run_torch(model: Packaged, pixels: Tensor, path: Path) -> Tensor:
    model.student.load_state_dict(torch.load(path, weights_only=True))
    with torch.inference_mode():
        logits: Tensor = model(pixels)
    return logits


def _write_pt2(model: Packaged, card: StudentCard, pixels: Tensor, path: Path) -> None:
    batch = {"pixels": {0: torch.export.Dim("batch")}}
    program = torch.export.export(model, (pixels,), dynamic_shapes=batch)
    torch.export.save(program, path, extra_files={EXPORT_KEY: sidecar(_as_run(card))})


def _run_pt2(model: Packaged, pixels: Tensor, path: Path) -> Tensor:
    program: Any = torch.export.load(path).module()
    with torch.inference_mode():
        logits: Tensor = program(pixels)
    return logits


def _write_onnx(model: Packaged, card: StudentCard, pixels: Tensor, path: Path) -> None:
    import onnx

    batch = {"pixels": {0: torch.export.Dim("batch")}}
    torch.onnx.export(
        model, (pixels,), path, input_names=["pixels"], output_names=["logits"],
        dynamic_shapes=batch, external_data=False, dynamo=True, verbose=False,
    )  # fmt: skip
    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, {EXPORT_PROPERTY: sidecar(_as_run(card))})
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
