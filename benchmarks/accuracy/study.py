"""A study: images, a teacher and a plan, with the stores that its students learn from."""

import json
import os
import platform
import shutil
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mix_trials import MIXES
from stores import (
    FULL,
    LabelMapper,
    derive,
    drawn_visits,
    label_maps,
    labels_of_others,
    load_teacher,
    once_per_image,
    pooled,
    repeated,
)
from teacher import Tuning, as_run, prepare
from torch import nn
from trials import USUAL, Plan

from fkd import (
    FkdError,
    LabelConfig,
    LabelStore,
    Scheme,
    TeacherChoice,
    TrainConfig,
    label_images,
)
from fkd.config import Engine, Preprocessing, ViewPolicy
from fkd.images import ImageList
from fkd.machine import resolve_device
from fkd.sources import dataset_root, list_images, val_folder
from fkd.statistics import compare
from fkd.students import StudentCard, build_student, evaluate
from fkd.teachers import kind_of, open_source
from fkd.training import views_at_a_time

LABELLING = "labelling"  # among the views a second of a study


@dataclass(frozen=True)
class Study:
    """What all runs share. `teacher` labels; `map_size` is the side of an image for its label map."""

    images: Path
    teacher: TeacherChoice
    out: Path
    plan: Plan
    map_size: int
    workers: int

    def store(self, name: str) -> Path:
        """Return where a store is, by the name that trials give it."""
        return self.out / f"{name}.zarr"

    @property
    def labelling(self) -> LabelConfig:
        """Say how the images are labelled."""
        return LabelConfig(
            self.images,
            self.teacher,
            self.store("full"),
            num_crops=self.plan.stored,
            views=self.plan.views,
            scheme=FULL,
            workers=self.workers,
            engine=Engine(self.plan.teacher_amp),
        )

    def labelling_as(self, name: str) -> LabelConfig:
        """Say how images are labelled of which views are mixed, into the store of this name."""
        mixed = ViewPolicy(mix=MIXES[name])
        return replace(self.labelling, out=self.store(name), views=mixed)


class About:
    """What is known of a study, in `about.json`: the figures in the report that no run has."""

    def __init__(self, out: Path) -> None:
        self._file = out / "about.json"
        self.said: dict[str, Any] = {"seconds": {}, "agreement": {}, "kl": {}, "views_per_s": {}}
        if self._file.exists():
            try:
                self.said |= json.loads(self._file.read_text("utf-8"))
                _ = self.said["given"]  # the first that is written
            except (ValueError, TypeError, KeyError) as error:
                raise FkdError(
                    f"{self._file} is damaged ({error}); choose another --out"
                ) from error

    def note(self, **more: Any) -> None:
        """Add what is known by name, and write it down."""
        self.said |= more
        write_json(self._file, self.said)

    def settle(self, **more: Any) -> None:
        """Note settings; raises `FkdError` where the study was begun with others."""
        more = json.loads(json.dumps(more))
        for name, value in more.items():
            parts = value if isinstance(value, dict) else {name: value}
            before = self.said if parts is not value else self.said.get(name, value)
            for part, now in parts.items():
                if before.get(part, now) != now:
                    raise FkdError(
                        f"{self._file.parent} was begun with {part} {before[part]}, not {now}; "
                        "choose another --out"
                    )
        self.note(**more)

    def note_in(self, group: str, name: str, value: float) -> None:
        """Add one figure to a group, and write it down."""
        self.note(**{group: self.said[group] | {name: value}})


def write_json(path: Path, content: Any) -> None:
    """Write a small file whole or not at all."""
    aside = path.with_suffix(".partial")
    aside.write_text(json.dumps(content, indent=1))
    aside.replace(path)


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


def make_stores(study: Study, names: set[str]) -> None:
    """Label once with all probabilities; make the stores `names` from that."""
    about, images = About(study.out), list_images(dataset_root(study.images))
    plan = asdict(study.plan)
    about.settle(plan={name: said for name, said in plan.items() if name != "rates"})
    about.note(plan=plan)  # rows at rates of their own may be added
    if "map" in names or "map_size" in about.said:
        about.settle(map_size=study.map_size)
    at_once = views_at_a_time(
        TrainConfig(micro_batch=study.plan.micro_batch), resolve_device("auto")
    )
    about.settle(hardware=machine(), torch=torch.__version__)
    about.note(micro_batch=min(study.plan.batch_size, at_once))
    if "date" not in about.said:
        about.note(date=datetime.now(UTC).date().isoformat())
    source = label(study, about)
    for name in sorted(names & {*MIXES}):
        label_images(study.labelling_as(name))
    for name in sorted(names - {"full", *MIXES}):
        if not study.store(name).exists():
            make_store(study, about, source, name, images)
        if name in ("image", "map") and name not in about.said["kl"]:
            other = LabelStore.open(study.store(name))
            found = compare(source, other)
            assert found.divergences is not None
            about.note_in("kl", name, found.divergences.kl)
            about.note_in("agreement", name, found.agreement)


def label(study: Study, about: About) -> LabelStore:
    """Label what has not been labelled, and note the views a second."""
    path = study.store("full")
    had = LabelStore.open(path) if path.exists() else None
    began = time.perf_counter()
    store = label_images(study.labelling)
    blocks = range(store.spec.num_blocks) if had is None else had.pending_blocks()
    images = sum(len(store.spec.block_range(number)) for number in blocks)
    if images:
        speed = images * store.spec.num_crops / (time.perf_counter() - began)
        about.note_in("views_per_s", LABELLING, speed)
    return store


def make_store(
    study: Study, about: About, source: LabelStore, name: str, images: ImageList
) -> None:
    """Make one of the derived stores by its name; note how long the teacher took for it."""
    path, plan = study.store(name), study.plan
    every = np.tile(np.arange(plan.stored), (len(images), 1))
    began = time.perf_counter()
    if name == "image":
        probs = once_per_image(images, load_teacher(study.teacher, images, plan.teacher_amp))
        about.note_in("seconds", name, time.perf_counter() - began)
        derive(source, path, images, FULL, every, repeated(probs))
    elif name == "map":
        maps = label_maps(images, study.teacher, study.map_size)
        about.note_in("seconds", name, time.perf_counter() - began)
        derive(source, path, images, FULL, every, pooled(maps, source.read_crops(range(1)).size))
    elif name == "drawn":
        visits = -(-plan.epochs // USUAL)
        slots = drawn_visits(len(images), plan.redrawn, visits, USUAL)
        derive(source, path, images, FULL, plan.stored - plan.redrawn + slots)
    elif name == "noise":
        derive(source, path, images, FULL, every, labels_of_others(source))
    elif name.startswith("topk"):
        derive(source, path, images, Scheme.parse(name), every)
    else:
        derive(source, path, images, FULL, every[:, -int(name.removeprefix("last")) :])


def machine() -> str:
    """Say what the figures are measured on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, {platform.machine()}"
