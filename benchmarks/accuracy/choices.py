"""What a study is of: its images and its teacher, refused before anybody works for it."""

import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from about import About
from stores import LabelMapper
from teacher import Tuning, as_run, prepare
from torch import nn

from fkd import FkdError, TeacherChoice
from fkd.config import Preprocessing
from fkd.evaluation import evaluate
from fkd.machine import resolve_device
from fkd.sources import dataset_root, list_images, val_folder
from fkd.students import StudentCard, build_student
from fkd.teachers import kind_of, open_source


def choose_images(images: Path, per_class: int | None, out: Path) -> Path:
    """Return the folder of the study's images: as given, or a part of each class.

    Raises `FkdError` without a `val` folder, where a class has fewer images than that, and where the
    study was begun with others.
    """
    _val(images)
    listed, about = list_images(dataset_root(images)), About(out)
    counts = np.bincount(listed.targets)
    if per_class is not None and counts.min() < per_class:
        fewest = listed.classes[int(counts.argmin())]
        raise FkdError(
            f"class {fewest} has {counts.min()} images, fewer than --per-class {per_class}; choose fewer"
        )
    about.settle(given=[len(listed), int(listed.num_bytes.sum())], per_class=per_class)
    about.note(data=images.resolve().name, classes=len(listed.classes))
    about.note(val=len(list_images(_val(images))))
    chosen = images if per_class is None else part(images, per_class, out / "images")
    about.settle(images=len(list_images(dataset_root(chosen))))
    return chosen


def _val(images: Path) -> Path:
    val = val_folder(dataset_root(images))
    if val is None:
        raise FkdError(f"{images} needs a train and a val folder: students are compared on val")
    return val


def part(images: Path, per_class: int, out: Path) -> Path:
    """Link so many training images of each class, drawn with a fixed seed, and all of `val`."""
    if out.exists():
        return out
    listed, aside = list_images(dataset_root(images)), out.with_suffix(".partial")
    shutil.rmtree(aside, ignore_errors=True)
    taken = [0] * len(listed.classes)
    for index in np.random.default_rng(0).permutation(len(listed)).tolist():
        target = int(listed.targets[index])
        if taken[target] < per_class:
            taken[target] += 1
            link = aside / "train" / listed.paths[index]
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(Path(listed.name(index)).resolve())
    (aside / "val").symlink_to(_val(images).resolve(), target_is_directory=True)
    aside.rename(out)
    return out


def try_student(name: str, images: Path) -> None:
    """Raise `FkdError` for a student that cannot be built, before a teacher works for it."""
    build_student(StudentCard(name, list_images(dataset_root(images)).classes, Preprocessing()))


def choose_teacher(
    choice: TeacherChoice, images: Path, out: Path, tuning: Tuning, *, maps: bool
) -> TeacherChoice:
    """Return the teacher that labels, tuned on some images.

    Raises `FkdError` for one that cannot be tuned or, if `maps` are wanted, has none, and where the study
    was begun with another.
    """
    about, listed = About(out), list_images(dataset_root(images))
    kind = kind_of(choice.name)
    if kind not in ("library", "function"):
        raise FkdError(
            f"teacher {choice.name} cannot be cut to the folder's classes; name a model of torchvision, "
            "or a function that builds one for a number of classes"
        )
    first = choice
    if kind == "function":
        (out / "teacher").mkdir(exist_ok=True)
        first = TeacherChoice(str(as_run(choice, images, out / "teacher" / "first.pt")))
    given = open_source(first, len(listed.classes), torch.device("cpu"))
    if maps:
        LabelMapper.of(choice.name, given)
    about.settle(teacher=choice.name, given_weights=given.weights_hash)
    about.settle(tuned=tuning.epochs, tuned_lr=tuning.lr, tuned_on=len(listed))
    about.settle(rendering=asdict(given.preprocessing), size=given.preprocessing.size)
    chosen = prepare(choice, images, out / "teacher", tuning)
    source = open_source(chosen, len(listed.classes), resolve_device("auto"))
    about.settle(weights=source.weights_hash)
    if "teacher_top1" not in about.said:
        assert isinstance(source.model, nn.Module)
        val = list_images(_val(images))
        seen = source.preprocessing
        card = StudentCard(choice.name, listed.classes, seen, seen.center_view)
        found = evaluate(source.model, card, val, 128, 2)
        about.note(teacher_top1=found.top1)
    return chosen
