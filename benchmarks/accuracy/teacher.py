"""A teacher that knows the folder's classes and the views' size: `fkd train` tunes one of ImageNet.

An ImageNet model asked for a tenth of its classes, in views of half its size, is a poor teacher: what
users distil from is tuned on their images. Students named `teacher:NAME` are torchvision's models with
their norms held still. A model that a function builds for the folder's classes is trained as it is, norms
and all, and the run that tuned it is the teacher.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
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
from fkd.config import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, ViewPolicy
from fkd.machine import resolve_device
from fkd.models import build, head_tensors, shapes_of_any
from fkd.sources import dataset_root, list_images
from fkd.students import Checkpoint, StudentCard, build_student, give_weights, save_checkpoint
from fkd.teachers import kind_of, open_source


@dataclass(frozen=True)
class Tuning:
    """How a teacher is tuned: for some epochs, at `lr` for 1024 views a step, on crops of `scale`.

    `scale` is as in `ViewPolicy`. With `new_head`, its last layer is begun anew: its outputs are other
    classes than the folder's.
    """

    epochs: float = 0.0
    lr: float = 1.6e-3
    scale: tuple[float, float] = ViewPolicy.scale
    new_head: bool = False


AS_IT_IS = Tuning()


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


def prepare(
    choice: TeacherChoice, images: Path, out: Path, how_far: Tuning = AS_IT_IS
) -> TeacherChoice:
    """Return the teacher with the folder's classes as its outputs, tuned on them as `how_far` says.

    All that is made for it is written below `out`, and made once.
    """
    out.mkdir(parents=True, exist_ok=True)
    is_built = kind_of(choice.name) == "function"
    if is_built:
        first, how = TeacherChoice(str(as_run(choice, images, out / "first.pt"))), said_of(choice)
    else:
        how = restrict(choice, images, out / "restricted.pt", new_head=how_far.new_head)
        weights = str(out / "restricted.pt")
        first = replace(choice, weights=weights, classes_file=None, mean=how.mean, std=how.std)
    if not how_far.epochs:
        return first
    run, base = out / "run", out / "base.zarr"
    if not (run / "done").exists():
        crops = math.ceil(how_far.epochs)
        # Other crops than the students': of those, a teacher would know the answers by heart.
        others = ViewPolicy(seed=1, scale=how_far.scale)
        small = replace(
            choice, name="thin_resnet:thin_resnet", weights="none", classes_file=None, size=how.size,
            mean=how.mean, std=how.std, interpolation=how.interpolation,
        )  # fmt: skip
        # Nobody reads the labels that are tuned on, so a small network makes them.
        quick = TeacherChoice(str(as_run(small, images, out / "quick.pt")))
        label_images(
            LabelConfig(images, quick, base, num_crops=crops, views=others, scheme=Scheme("hard"))
        )
        student = choice.name if is_built else f"teacher:{choice.name}"
        begin = first.name if is_built else first.weights
        train_student(tuning(student, begin, how, images, base, run, how_far))
        (run / "done").touch()
    last = str(run / "last.pt")
    return TeacherChoice(last) if is_built else replace(first, weights=last)


def as_run(choice: TeacherChoice, images: Path, path: Path) -> Path:
    """Write the model that a function builds for the folder's classes as a run's first checkpoint."""
    if path.exists():
        return path
    classes = list_images(dataset_root(images)).classes
    card = StudentCard(choice.name, classes, said_of(choice))
    model = build_student(card)
    if choice.weights not in ("default", "none"):
        give_weights(model, card, choice.weights)
    save_checkpoint(path, Checkpoint(card, model.state_dict(), 0))
    return path


def said_of(choice: TeacherChoice) -> Preprocessing:
    """Return what is said of a model's input, and ImageNet's normalisation where nothing is."""
    return Preprocessing(
        choice.size or Preprocessing.size,
        choice.mean or IMAGENET_MEAN,
        choice.std or IMAGENET_STD,
        choice.interpolation or "bilinear",
    )


def tuning(
    student: str,
    begin: str,
    how: Preprocessing,
    images: Path,
    base: Path,
    run: Path,
    how_far: Tuning,
) -> TrainConfig:
    """Say how a teacher is tuned: plain supervised training on the crops of the store `base`.

    `begin` is the file of the weights that it begins with.
    """
    return TrainConfig.from_recipe(
        "fkd",
        store=base,
        images=images,
        out=run,
        resume=True,
        student=student,
        init=begin,
        mean=how.mean,
        std=how.std,
        crops_per_image=1,
        scheme=Scheme("hard"),
        hard_weight=1.0,
        epochs=how_far.epochs,
        warmup_epochs=min(0.2, how_far.epochs),
        eval_every=1,
        batch_size=min(64, len(list_images(dataset_root(images)))),
        optimizer="adamw",
        lr=how_far.lr,
        clip_grad=1.0,
    )


def restrict(
    choice: TeacherChoice, images: Path, path: Path, *, new_head: bool = False
) -> Preprocessing:
    """Write the teacher's weights with only those outputs that are classes of the folder, or new ones."""
    listed = list_images(dataset_root(images))
    columns = None if new_head else load_teacher(choice, listed).class_map.columns
    source = open_source(choice, len(listed.classes), resolve_device("auto"))
    assert isinstance(source.model, nn.Module)
    state = source.model.state_dict()
    if columns is not None:
        for name in head_tensors(shapes_of_any(partial(build, choice.name))):
            state[name] = state[name][columns].clone()
    if new_head:
        torch.manual_seed(0)
        state |= head_of(build(choice.name, len(listed.classes)), choice.name)
    torch.save({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, path)
    return source.preprocessing


def head_of(model: nn.Module, name: str) -> dict[str, torch.Tensor]:
    """Return the tensors of the last layer of a model of torchvision's."""
    tensors = model.state_dict()
    return {key: tensors[key] for key in head_tensors(shapes_of_any(partial(build, name)))}
