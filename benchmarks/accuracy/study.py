"""A study: images, a teacher and a plan, with the stores that its students learn from."""

import os
import platform
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from about import LABELLING, About
from mix_trials import MIXES
from stores import (
    FULL,
    derive,
    drawn_visits,
    label_maps,
    labels_of_others,
    load_teacher,
    once_per_image,
    pooled,
    repeated,
)
from trials import USUAL, Plan

from fkd import (
    LabelConfig,
    LabelStore,
    Scheme,
    TeacherChoice,
    TrainConfig,
    label_images,
)
from fkd.config import Engine, ViewPolicy
from fkd.images import ImageList
from fkd.machine import resolve_device
from fkd.sources import dataset_root, list_images
from fkd.statistics import compare
from fkd.training import views_at_a_time


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
