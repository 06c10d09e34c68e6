"""`fkd export`: the student alone, with its preprocessing and classes, for other programs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fkd.errors import ConfigError, ModelError, first_line
from fkd.students.checkpoints import BEST, LAST, PREVIOUS, load_student
from fkd.students.student import StudentCard

Format = Literal["torch", "onnx", "pt2"]
FORMATS: tuple[Format, ...] = ("torch", "onnx", "pt2")
_SUFFIX = {"torch": ".pth", "onnx": ".onnx", "pt2": ".pt2"}

_BATCH = 3  # views that both are run on
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Exported:
    """A file that was written, the description beside or inside it, and how far its logits are off."""

    path: Path
    difference: float


class Packaged(nn.Module):
    """A student that takes pixels in [0, 1], f32 [B, 3, S, S], and normalises them itself."""

    def __init__(self, student: nn.Module, card: StudentCard) -> None:
        super().__init__()
        self.student = student
        mean, std = (torch.tensor(v) for v in (card.preprocessing.mean, card.preprocessing.std))
        self.scale = nn.Buffer((1 / std).view(3, 1, 1))
        self.shift = nn.Buffer((-mean / std).view(3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits, f32 [B, C]."""
        logits: Tensor = self.student(pixels * self.scale + self.shift)
        return logits


def export_student(
    checkpoint: Path, format: Format = "torch", out: Path | None = None, *, ema: bool = False
) -> Exported:
    """Write the student of a checkpoint, or of a run's best, and check that the file says the same.

    "torch" is a plain state dict, which torchvision and timm load as it is, with a .json beside it.
    "onnx" and "pt2" (torch.export) take pixels in [0, 1], f32 [B, 3, S, S] with any B, normalise them
    and carry the description inside. Raises `ModelError` where the file's logits differ.
    """
    card, student = load_student(checkpoint, ema=ema)
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    path = out or folder / f"student{_SUFFIX[format]}"
    _refuse_place(path, format)
    size = card.preprocessing.size
    pixels = torch.rand(_BATCH, 3, size, size, generator=torch.Generator().manual_seed(0))
    model = Packaged(student, card).eval()
    with torch.inference_mode():
        expected = model(pixels)
    if not expected.isfinite().all():
        raise ModelError(
            f"{checkpoint}: the student's logits are not finite; export another checkpoint"
        )
    try:
        with TemporaryDirectory(prefix=".export-", dir=path.parent) as scratch:
            aside = Path(scratch) / path.name
            said = _write_and_run(model, card, pixels, aside, format)
            difference = float((said - expected).abs().max())
            if not difference <= _TOLERANCE * max(1.0, float(expected.abs().max())):
                raise ModelError(
                    f"{path} was not written: its logits would differ from the student's by "
                    f"{difference:.3g}; use another --format"
                )
            aside.replace(path)
        if format == "torch":
            path.with_suffix(".json").write_text(described(card) + "\n", "utf-8")
    except OSError as error:
        raise ConfigError(f"--out {path} cannot be written ({error})") from error
    return Exported(path, difference)


def _write_and_run(
    model: Packaged, card: StudentCard, pixels: Tensor, path: Path, format: Format
) -> Tensor:
    write, run = _WAYS[format]
    try:
        write(model, card, pixels, path)
        said: Tensor = run(model, pixels, path)
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
    return said


def _refuse_place(path: Path, format: Format) -> None:
    """Refuse a file that cannot be made, and one that a run needs."""
    written = {path.name, path.with_suffix(".json").name if format == "torch" else path.name}
    if path.is_dir():
        raise ConfigError(f"--out {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise ConfigError(f"--out {path}: the folder {path.parent} does not exist; make it first")
    taken = written & {"config.json", LAST, PREVIOUS, BEST}
    if taken or (format == "torch" and path.suffix == ".json"):
        raise ConfigError(f"--out {path} would overwrite a file of a run; choose another name")


def described(card: StudentCard) -> str:
    """Return what a user of the student must know, as JSON."""
    how = asdict(card.preprocessing)
    evaluation = {
        "resize": max(how["size"], round(how["size"] * 256 / 224)),
        "center_crop": how["size"],
    }
    return json.dumps(
        {"name": card.name, "preprocessing": how, "evaluation": evaluation, "classes": card.classes}
    )


def _write_torch(model: Packaged, card: StudentCard, pixels: Tensor, path: Path) -> None:
    state = {name: value.contiguous() for name, value in model.student.state_dict().items()}
    torch.save(state, path)


def _run_torch(model: Packaged, pixels: Tensor, path: Path) -> Tensor:
    model.student.load_state_dict(torch.load(path, weights_only=True))
    with torch.inference_mode():
        said: Tensor = model(pixels)
    return said


def _write_pt2(model: Packaged, card: StudentCard, pixels: Tensor, path: Path) -> None:
    batch = {"pixels": {0: torch.export.Dim("batch")}}
    program = torch.export.export(model, (pixels,), dynamic_shapes=batch)
    torch.export.save(program, path, extra_files={"fkd.json": described(card)})


def _run_pt2(model: Packaged, pixels: Tensor, path: Path) -> Tensor:
    program: Any = torch.export.load(path).module()
    with torch.inference_mode():
        said: Tensor = program(pixels)
    return said


def _write_onnx(model: Packaged, card: StudentCard, pixels: Tensor, path: Path) -> None:
    import onnx

    batch = {"pixels": {0: torch.export.Dim("batch")}}
    torch.onnx.export(
        model, (pixels,), path, input_names=["pixels"], output_names=["logits"],
        dynamic_shapes=batch, external_data=False, dynamo=True, verbose=False,
    )  # fmt: skip
    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, {"fkd": described(card)})
    onnx.save(graph, path)


def _run_onnx(model: Packaged, pixels: Tensor, path: Path) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"pixels": pixels.numpy()})[0])


_WAYS: dict[str, Any] = {
    "torch": (_write_torch, _run_torch),
    "pt2": (_write_pt2, _run_pt2),
    "onnx": (_write_onnx, _run_onnx),
}
