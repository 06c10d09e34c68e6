"""A teacher that knows the folder's classes and the views' size: `fkd train` tunes one of ImageNet.

An ImageNet model asked for a tenth of its classes, in views of half its size, is a poor teacher: what
users distil from is tuned on their images. Students named `teacher:NAME` are torchvision's models with
their norms held still.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from stores import load_teacher
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from fkd import (
    FkdError,
    LabelConfig,
    Scheme,
    TeacherChoice,
    TrainConfig,
    label_images,
    train_student,
)
from fkd.config import Preprocessing, ViewPolicy
from fkd.machine import resolve_device
from fkd.models import build, head_tensors, shapes_of_any
from fkd.sources import dataset_root, list_images
from fkd.teachers import open_source


def __getattr__(name: str) -> Callable[[int], nn.Module]:
    """Return the builder of torchvision's model `name` with frozen batch norms.

    Statistics of small batches would undo what the weights were trained to, and the norms of some
    published weights are folded into their convolutions, where they cannot be trained at all.
    """
    if name.startswith("_"):
        raise AttributeError(name)
    return partial(_build, name)


def _build(name: str, num_classes: int) -> nn.Module:
    model = build(name, num_classes)
    for parent in list(model.modules()):
        for child_name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(parent, child_name, FrozenBatchNorm2d(child.num_features, child.eps))
            elif isinstance(child, nn.BatchNorm2d):
                kind = type(child).__name__
                raise FkdError(
                    f"teacher {name}: its {kind} does more than to norm; tune it yourself"
                )
    return model


def prepare(choice: TeacherChoice, images: Path, out: Path, epochs: float) -> TeacherChoice:
    """Return the teacher with the folder's classes as its outputs, tuned on them for some epochs.

    All that is made for it is written below `out`, and made once.
    """
    out.mkdir(parents=True, exist_ok=True)
    restricted, run = out / "restricted.pt", out / "run"
    how = restrict(choice, images, restricted)
    first = replace(choice, weights=str(restricted), classes_file=None, mean=how.mean, std=how.std)
    if not epochs:
        return first
    if not (run / "done").exists():
        base = out / "base.zarr"
        crops = math.ceil(epochs)
        # Other crops than the students': of those, a teacher would know the answers by heart.
        others = ViewPolicy(seed=1)
        label_images(
            LabelConfig(images, first, base, num_crops=crops, views=others, scheme=Scheme("hard"))
        )
        train_student(tuning(first, images, base, run, epochs))
        (run / "done").touch()
    return replace(first, weights=str(run / "last.pt"))


def tuning(first: TeacherChoice, images: Path, base: Path, run: Path, epochs: float) -> TrainConfig:
    """Say how a teacher is tuned: plain supervised training on the crops of the store `base`."""
    return TrainConfig.from_recipe(
        "fkd",
        store=base,
        images=images,
        out=run,
        resume=True,
        student=f"teacher:{first.name}",
        init=first.weights,
        mean=first.mean,
        std=first.std,
        crops_per_image=1,
        scheme=Scheme("hard"),
        hard_weight=1.0,
        epochs=epochs,
        warmup_epochs=min(0.2, epochs),
        eval_every=1,
        batch_size=min(64, len(list_images(dataset_root(images)))),
        optimizer="adamw",
        lr=1.6e-3,
        clip_grad=1.0,
    )


def restrict(choice: TeacherChoice, images: Path, path: Path) -> Preprocessing:
    """Write the teacher's weights with only those outputs that are classes of the folder."""
    listed = list_images(dataset_root(images))
    columns = load_teacher(choice, listed).class_map.columns
    source = open_source(choice, len(listed.classes), resolve_device("auto"))
    assert isinstance(source.model, nn.Module)
    state = source.model.state_dict()
    if columns is not None:
        for name in head_tensors(shapes_of_any(partial(build, choice.name))):
            state[name] = state[name][columns].clone()
    torch.save({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, path)
    return source.preprocessing
