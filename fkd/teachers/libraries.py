"""Teachers by name: torchvision's models and timm's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from urllib.error import URLError

import torch
import torchvision
from torch import nn

from fkd import models
from fkd.config import INTERPOLATIONS, Interpolation, Preprocessing, TeacherChoice, sides_of
from fkd.errors import ModelError
from fkd.machine import place
from fkd.teachers.output_names import OutputNames
from fkd.teachers.source import Source, asking_hub, override

# A state-dict file with as many outputs as the libraries' own weights was most likely trained alike.
_IMAGENET_CLASSES = 1000

# A library's model, what is recorded of its input, and what its outputs are called.
_Opened = tuple[nn.Module, Preprocessing, OutputNames | None]


def open_library(choice: TeacherChoice, num_classes: int | None, device: torch.device) -> Source:
    """Build a model of a library with weights of the library, of a file, or random ones."""
    open_one = _open_timm if choice.name.startswith("timm:") else _open_torchvision
    model, recorded, names = open_one(choice, num_classes or _IMAGENET_CLASSES)
    preprocessing = override(recorded, choice)
    model = model.eval().requires_grad_(False)
    if models.is_segmentation(choice.name):
        model = models.OwnGrid(model)
    weights_hash = models.weights_hash(model)
    outputs = models.output_shape_without_data(
        model, 2, preprocessing.size, f"teacher {choice.name}",
        "choose another --size, or leave it to the weights",
    )  # fmt: skip
    like_recorded = choice.weights == "default" or (
        choice.weights != "none" and outputs.count == _IMAGENET_CLASSES
    )
    made_for = min(sides_of(recorded.size)) if like_recorded else None
    return Source(place(model, device), preprocessing, weights_hash, outputs, made_for, names)


def _open_torchvision(choice: TeacherChoice, num_classes: int) -> _Opened:
    models.check_name(choice.name, "teacher")
    weights = torchvision.models.get_model_weights(choice.name).DEFAULT
    transforms = weights.transforms()
    recorded = Preprocessing(
        (transforms.resize_size if models.is_segmentation(choice.name) else transforms.crop_size)[
            0
        ],
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
    # A backbone of timm says its features where it has no head.
    head = models.head_tensors(shapes) if choice.name.startswith("timm:") else []
    state = models.read_weights(
        Path(choice.weights), shapes, choice.name,
        option="--teacher-weights", average_option="--teacher-ema", average=choice.ema,
        may_miss=head,
    )  # fmt: skip
    headless = bool(head) and not {*head} & {*state}
    model = build(0 if headless else models.num_outputs(state, shapes, f"teacher {choice.name}"))
    models.load_weights(model, state, f"--teacher-weights {choice.weights}")
    return model


def _no_download(choice: TeacherChoice, url: str, error: Exception) -> ModelError:
    return ModelError(
        f"teacher {choice.name}: its weights could not be downloaded from {url} ({error}); "
        "give a state-dict file with --teacher-weights FILE"
    )


def _open_timm(choice: TeacherChoice, num_classes: int) -> _Opened:
    timm = models.import_timm(choice.name)
    name = models.timm_name(choice.name, "teacher")
    names = None
    if choice.weights == "default":
        try:
            with asking_hub(choice):
                model: nn.Module = timm.create_model(name, pretrained=True)
        except Exception as error:  # the hub's client raises a dozen kinds
            raise _no_download(choice, "the model hub of timm", error) from error
        names = _timm_names(timm, model)
    else:
        known = timm.models.get_pretrained_cfg(name)
        if known is not None and known.num_classes == 0:  # self-supervised: it has no classes
            num_classes = 0
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
