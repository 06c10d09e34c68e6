"""Where a teacher's model comes from: torchvision, timm, an exported program, or a user's function.

A teacher's name says which: `resnet152`, `timm:NAME`, `model.pt2` (torch.export), `model.pt`
(TorchScript), or `package.module:function`, a function that returns a model with its weights.
"""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.error import URLError

import torch
import torchvision
from torch import nn

from fkd import models
from fkd.config import INTERPOLATIONS, Interpolation, Preprocessing, TeacherChoice
from fkd.errors import ModelError, first_line
from fkd.machine import place
from fkd.teachers.output_names import OutputNames

PROGRAMS = {".pt2": "an exported program", ".pt": "TorchScript", ".ts": "TorchScript"}

_BATCH = 3  # views that a model is tried on

# A state-dict file with as many outputs as the libraries' own weights was most likely trained alike.
_IMAGENET_CLASSES = 1000

Model = Callable[[torch.Tensor], torch.Tensor]


# A library's model, what is recorded of its input, and what its outputs are called.
_Opened = tuple[nn.Module, Preprocessing, OutputNames | None]


@dataclass(frozen=True)
class Source:
    """A frozen model, the preprocessing that it gets, and a hash that identifies its weights.

    `made_for` is the input size in pixels that is recorded with the weights, None where none is known.
    `names` are what the outputs are called, where the teacher itself says so.
    """

    model: Model
    preprocessing: Preprocessing
    weights_hash: str
    num_outputs: int
    made_for: int | None = None
    names: OutputNames | None = None


def open_source(choice: TeacherChoice, num_classes: int | None, device: torch.device) -> Source:
    """Load what a `TeacherChoice` names; random weights get `num_classes` outputs, or ImageNet's."""
    if Path(choice.name).suffix in PROGRAMS:
        return _open_program(choice, device)
    if models.is_function(choice.name):
        return _open_function(choice, device)
    open_library = _open_timm if choice.name.startswith("timm:") else _open_torchvision
    model, recorded, names = open_library(choice, num_classes or _IMAGENET_CLASSES)
    preprocessing = _override(recorded, choice)
    model = model.eval().requires_grad_(False)
    weights_hash = models.weights_hash(model)
    outputs = models.count_outputs_by_shape(
        model, 2, preprocessing.size, f"teacher {choice.name}",
        "choose another --size, or leave it to the weights",
    )  # fmt: skip
    like_recorded = choice.weights == "default" or (
        choice.weights != "none" and outputs == _IMAGENET_CLASSES
    )
    made_for = recorded.size if like_recorded else None
    return Source(place(model, device), preprocessing, weights_hash, outputs, made_for, names)


def _override(recorded: Preprocessing, choice: TeacherChoice) -> Preprocessing:
    """Prefer what the user says to what is recorded with the weights."""
    return Preprocessing(
        recorded.size if choice.size is None else choice.size,
        choice.mean or recorded.mean,
        choice.std or recorded.std,
        choice.interpolation or recorded.interpolation,
    )


# -- torchvision ----------------------------------------------------------------------------------


def _open_torchvision(choice: TeacherChoice, num_classes: int) -> _Opened:
    models.check_name(choice.name, "teacher")
    weights = torchvision.models.get_model_weights(choice.name).DEFAULT
    transforms = weights.transforms()
    recorded = Preprocessing(
        transforms.crop_size[0],
        tuple(transforms.mean),
        tuple(transforms.std),
        cast("Interpolation", transforms.interpolation.value),
    )
    size = choice.size or recorded.size
    if choice.weights == "default":
        try:
            model = torchvision.models.get_model(choice.name, weights=weights)
        except (URLError, OSError, RuntimeError) as error:
            raise _no_download(choice, weights.url, error) from error
        words = OutputNames(tuple(weights.meta["categories"]), "torchvision", binding=False)
        return model, recorded, words
    if choice.weights != "none" and choice.name in ("googlenet", "inception_v3"):
        raise ModelError(
            f"teacher {choice.name} cannot be read from a state-dict file, which does not say how its "
            "input is transformed; use --teacher-weights default, or another teacher"
        )
    return _build(choice, num_classes, lambda n: models.build(choice.name, n, size)), recorded, None


def _build(choice: TeacherChoice, num_classes: int, build: Callable[[int], nn.Module]) -> nn.Module:
    """Build a model with random weights, or with those of a state-dict file."""
    if choice.weights == "none":
        # The same random weights in every run, so that a run can be continued.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return build(num_classes)
    shapes = models.shapes_of_any(build)
    state = models.read_weights(
        Path(choice.weights), shapes, choice.name,
        option="--teacher-weights", average_option="--teacher-ema", average=choice.ema,
    )  # fmt: skip
    model = build(models.num_outputs(state, shapes, f"teacher {choice.name}"))
    models.load_weights(model, state, f"--teacher-weights {choice.weights}")
    return model


def _no_download(choice: TeacherChoice, url: str, error: Exception) -> ModelError:
    return ModelError(
        f"teacher {choice.name}: its weights could not be downloaded from {url} ({error}); "
        "give a state-dict file with --teacher-weights FILE"
    )


# -- timm -----------------------------------------------------------------------------------------


def _open_timm(choice: TeacherChoice, num_classes: int) -> _Opened:
    timm = models.import_timm(choice.name)
    name = models.timm_name(choice.name, "teacher")
    names = None
    if choice.weights == "default":
        try:
            model: nn.Module = timm.create_model(name, pretrained=True)
        except Exception as error:  # the hub's client raises a dozen kinds
            raise _no_download(choice, "the model hub of timm", error) from error
        names = _timm_names(timm, model)
    else:
        model = _build(choice, num_classes, lambda n: models.build(choice.name, n, choice.size))
    config: dict[str, Any] = timm.data.resolve_model_data_config(model)
    resampling = config["interpolation"]
    recorded = Preprocessing(
        config["input_size"][-1],
        tuple(config["mean"]),
        tuple(config["std"]),
        resampling if resampling in INTERPOLATIONS else "bicubic",
    )
    return model, recorded, names


def _timm_names(timm: Any, model: nn.Module) -> OutputNames | None:
    """Return the names of the classes, which for ImageNet's are those of its folders (n01440764, …)."""
    config: dict[str, Any] = getattr(model, "pretrained_cfg", {})
    names = config.get("label_names")
    if not names:
        subset = timm.data.infer_imagenet_subset(model)
        names = timm.data.ImageNetInfo(subset).label_names() if subset else None
    return None if not names else OutputNames(tuple(map(str, names)), "timm", binding=False)


# -- files and functions --------------------------------------------------------------------------


def _open_program(choice: TeacherChoice, device: torch.device) -> Source:
    """Open an exported program or a TorchScript file; neither says how its input is prepared."""
    path, kind = Path(choice.name), PROGRAMS[Path(choice.name).suffix]
    _refuse_weights(choice)
    if not path.is_file():
        raise ModelError(f"teacher {path}: no such file")
    try:
        model = _load_program(path).to(device)
    except Exception as error:  # both loaders fail in a dozen ways on other files
        raise ModelError(
            f"teacher {path}: cannot be loaded as {kind} ({first_line(error)}); a state dict goes to "
            "--teacher-weights, beside its model's name as --teacher"
        ) from error
    with path.open("rb") as file:
        identity = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    preprocessing = _override(Preprocessing(), choice)
    remedy = "give its --size, and export it with a batch dimension that is dynamic"
    outputs = _count_outputs(model, choice, preprocessing.size, device, remedy)
    return Source(model, preprocessing, identity, outputs)


def _load_program(path: Path) -> Any:
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and yet what people have
        script = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    return script.eval()


def _count_outputs(
    model: Model, choice: TeacherChoice, size: int, device: torch.device, remedy: str
) -> int:
    """Run a small batch: programs and users' models do not say which shapes they take."""
    views = torch.zeros(_BATCH, 3, size, size, device=device)
    return models.count_outputs(model, views, f"teacher {choice.name}", remedy)


def _open_function(choice: TeacherChoice, device: torch.device) -> Source:
    _refuse_weights(choice)
    own = models.call_function(choice.name, role="teacher", takes="without arguments")
    model = place(own.eval(), device)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    preprocessing = _override(Preprocessing(), choice)
    remedy = "mend it, or give another --size"
    outputs = _count_outputs(model, choice, preprocessing.size, device, remedy)
    return Source(model, preprocessing, models.weights_hash(model), outputs)


def _refuse_weights(choice: TeacherChoice) -> None:
    if choice.weights != "default":
        raise ModelError(
            f"--teacher-weights {choice.weights}: teacher {choice.name} brings its own weights; "
            "leave the option out, or give it as `default` for this teacher"
        )
