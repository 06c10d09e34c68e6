"""A study: images, a teacher and a plan, with the stores that its students learn from."""

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stores import (
    FULL,
    derive,
    label_full,
    label_maps,
    load_teacher,
    once_per_image,
    pooled,
    repeated,
)
from teacher import prepare
from torch import nn
from trials import Plan, Trial, planned_trials

from fkd import FkdError, LabelStore, TeacherChoice
from fkd.comparison import compare
from fkd.evaluate import evaluate
from fkd.images import ImageList, dataset_root, list_images
from fkd.sources import open_source
from fkd.zoo import resolve_device


@dataclass(frozen=True)
class Study:
    """What all runs share. `teacher` labels; `map_size` is the side of an image for its label map."""

    images: Path
    teacher: TeacherChoice
    out: Path
    plan: Plan
    map_size: int
    workers: int

    @property
    def trials(self) -> list[Trial]:
        """The rows of all tables."""
        return planned_trials(self.plan)

    def store(self, name: str) -> Path:
        """Return where a store is, by the name that trials give it."""
        return self.out / f"{name}.zarr"


class About:
    """What is known of a study, in `about.json`: the figures in the report that no run has."""

    def __init__(self, out: Path) -> None:
        self._file = out / "about.json"
        self.said: dict[str, Any] = {"seconds": {}, "agreement": {}, "views_per_s": {}}
        if self._file.exists():
            self.said |= json.loads(self._file.read_text())

    def note(self, **more: Any) -> None:
        """Add what is known by name, and write it down."""
        self.said |= more
        self._file.write_text(json.dumps(self.said, indent=1))

    def settle(self, **more: Any) -> None:
        """Note settings; raises `FkdError` where the study was begun with others."""
        for name, value in more.items():
            if self.said.get(name, value) != value:
                raise FkdError(
                    f"{self._file.parent} was begun with {name} {self.said[name]}, not {value}; "
                    "choose another --out"
                )
        self.note(**more)

    def note_in(self, group: str, name: str, value: float) -> None:
        """Add one figure to a group, and write it down."""
        self.note(**{group: self.said[group] | {name: value}})


def subset(images: Path, per_class: int, out: Path) -> Path:
    """Link the first so many training images of each class, and all of `val`, below `out`."""
    listed = list_images(dataset_root(images))
    taken = [0] * len(listed.classes)
    for index, target in enumerate(listed.targets.tolist()):
        if taken[target] < per_class:
            taken[target] += 1
            link = out / "train" / listed.classes[target] / Path(listed.file(index)).name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(Path(listed.file(index)).resolve())
    if not (out / "val").exists():
        (out / "val").symlink_to((images / "val").resolve(), target_is_directory=True)
    return out


def choose_teacher(choice: TeacherChoice, images: Path, out: Path, epochs: float) -> TeacherChoice:
    """Return the teacher that labels, tuned for some epochs, and note how good it is on `val`."""
    about, began = About(out), time.perf_counter()
    about.settle(teacher=choice.name, tuned=epochs)
    chosen = prepare(choice, images, out / "teacher", epochs)
    listed, val = list_images(dataset_root(images)), list_images(images / "val")
    source = open_source(chosen, len(listed.classes), resolve_device("auto"))
    how = source.preprocessing
    about.settle(size=how.size)
    if "teacher_top1" not in about.said:
        about.note_in("seconds", "teacher", time.perf_counter() - began)
        assert isinstance(source.model, nn.Module)
        found = evaluate(source.model, how, listed.classes, val, 128, 2)
        about.note(teacher_top1=found.top1, val=len(val))
    return chosen


def make_stores(study: Study, names: set[str]) -> None:
    """Label once with all probabilities; make the stores `names` from that, with the times it took."""
    about, images = About(study.out), list_images(dataset_root(study.images))
    about.settle(plan=asdict(study.plan), map_size=study.map_size, images=len(images))
    full = study.store("full")
    if "full" not in about.said["seconds"]:
        seconds = label_full(
            study.images, study.teacher, study.plan.stored, full, study.plan.teacher_amp
        )
        about.note_in("seconds", "full", seconds)
        describe(study, about, images)
    source = LabelStore.open(full)
    for name in sorted(names - {"full"}):
        if not study.store(name).exists():
            began = time.perf_counter()
            make_store(study, source, name, images)
            about.note_in("seconds", name, time.perf_counter() - began)
        if name in ("image", "map") and name not in about.said["agreement"]:
            other = LabelStore.open(study.store(name))
            about.note_in("agreement", name, compare(source, other).agreement)


def describe(study: Study, about: About, images: ImageList) -> None:
    """Note what a reader wants to know of the images, the plan and the machine."""
    about.note(
        classes=len(images.classes),
        hardware=machine(),
        torch=torch.__version__,
        date=datetime.now(UTC).date().isoformat(),
    )


def make_store(study: Study, source: LabelStore, name: str, images: ImageList) -> None:
    """Make one of the derived stores by its name."""
    path, stored = study.store(name), source.spec.num_crops
    every = np.tile(np.arange(stored), (len(images), 1))
    if name == "image":
        probs = once_per_image(images, load_teacher(study.teacher, images))
        derive(source, path, images, FULL, every, repeated(probs))
    elif name == "map":
        teacher = load_teacher(study.teacher, images)
        maps = label_maps(images, study.teacher, teacher, study.map_size)
        derive(source, path, images, FULL, every, pooled(maps, source.read_crops(range(1)).size))
    elif name == "drawn":
        rng = np.random.default_rng(0)
        drawn = rng.integers(study.plan.redrawn, size=(len(images), study.plan.epochs))
        derive(source, path, images, FULL, drawn)
    else:
        derive(source, path, images, FULL, every[:, : int(name.removeprefix("first"))])


def machine() -> str:
    """Say what the figures are measured on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, {platform.machine()}"
