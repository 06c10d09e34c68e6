"""Label speed: `fkd label` beside the teacher's pure forward pass on views that lie on the device."""

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from pathlib import Path

import torch
from label_speed import batches_in_memory, forward_seconds
from torch.distributed import HashStore  # type: ignore[attr-defined]

from fkd import Engine, LabelConfig, LabelStore, TeacherChoice
from fkd.config import Render
from fkd.images import ImageList
from fkd.labelling import Ranks, label_blocks, new_spec
from fkd.sources import list_images
from fkd.teachers import Ensemble, load_teachers

from .clocks import Clocks, Reading
from .findings import Finding, Setting
from .small_models import SMALL_TEACHER
from .spent import ENOUGH, Spent

FEEDS: tuple[tuple[Render, int], ...] = (("device", 2), ("cpu", 4), ("device", 4), ("cpu", 8))
CROPS = 50
ROUNDS = 2
SECONDS = 1.2  # of a round, about, at the speed of the forward pass


def label_rate(teacher: str, setting: Setting, *, compiled: bool) -> Iterator[Finding]:
    """Time a teacher's forward pass and `fkd label` in turn, by who renders and with how many workers.

    All of `fkd label` is of its middle: from the third batch to the last but one. Its main thread draws
    views and asks the device for all. Shares are of the time; the device's are of spans, in which it may
    wait for the next operation.
    """
    teacher, weights = (SMALL_TEACHER, "default") if setting.tiny else (teacher, "none")
    engine = Engine("bf16" if setting.on_cuda else "off", compiled and not setting.tiny)
    config = LabelConfig(
        setting.photos(20), TeacherChoice(teacher, weights, size=32 if setting.tiny else 224),
        num_crops=4 if setting.tiny else CROPS, batch_size=8 if setting.tiny else 256,
        device=setting.device_name, engine=engine,
    )  # fmt: skip
    images = list_images(config.images)
    setting.compiled()
    began = time.perf_counter()
    teachers = load_teachers(config.teachers, images.classes, setting.device, engine)
    batches = [
        (views.to(setting.device), count)
        for views, count in batches_in_memory(config, images, teachers)
        if count == config.batch_size
    ]
    forward_seconds(batches, teachers, setting.device)
    yield Finding("ready after", {"seconds": round(time.perf_counter() - began, 1)})
    if setting.on_cuda:
        torch.cuda.reset_peak_memory_stats()
    rate = _forward_rate(setting, batches, teachers)
    count = 20 if setting.tiny else max(40, round(rate * SECONDS / config.crops))
    config = replace(config, images=setting.photos(count))
    images = list_images(config.images)
    feeds = FEEDS[:2] if setting.tiny else FEEDS
    pure: dict[tuple[Render, int], list[float]] = defaultdict(list)
    ours: dict[tuple[Render, int], list[Spent]] = defaultdict(list)
    yield Finding("forward, views on the device", {"views/s": round(rate)})
    for _ in range(1 if setting.tiny else ROUNDS):
        for feed in feeds:
            if setting.left < 5 * SECONDS and not setting.tiny:
                break
            pure[feed].append(_forward_rate(setting, batches, teachers))
            ours[feed].append(_label(config, images, teachers, *feed))
    for by, workers in feeds:
        if not ours[by, workers]:
            yield Finding(f"{by} renders, {workers} workers: no time was left")
            continue
        rates = [spent.views / spent.seconds for spent in ours[by, workers]]
        ratio = statistics.median(b / a for a, b in zip(pure[by, workers], rates, strict=True))
        spent = reduce(add, ours[by, workers])
        figures = {
            "views/s": round(statistics.median(rates)), "of the forward": round(ratio, 3),
            "held back by": spent.held_back_by(ratio), **spent.figures(),
        }  # fmt: skip
        aimed = workers <= 4 and setting.on_cuda
        what = f"{by} renders, {workers} workers"
        yield Finding(what, figures, ratio >= ENOUGH if aimed else None)
    if setting.on_cuda:
        mib = torch.cuda.max_memory_allocated() / 2**20
        yield Finding("memory of the device at most", {"MiB": round(mib)})


def _forward_rate(
    setting: Setting, batches: list[tuple[torch.Tensor, int]], teachers: Ensemble
) -> float:
    views, seconds = 0, 0.0
    while seconds < (0.2 if setting.tiny else 0.5):
        seconds += forward_seconds(batches, teachers, setting.device)
        views += sum(count for _, count in batches)
    return views / seconds


@dataclass(frozen=True)
class _Watched(Ranks):
    """A rank alone that reads clocks whenever views were labelled."""

    clocks: Clocks | None = None
    seen: list[Reading] = field(default_factory=list)

    def add(self, key: str, amount: int) -> int:
        total = super().add(key, amount)
        if key == "views" and amount and self.clocks is not None:
            self.seen.append(self.clocks.read(total))
        return total


def _label(
    config: LabelConfig, images: ImageList, teachers: Ensemble, by: Render, workers: int
) -> Spent:
    """Label, and return what the middle of it was spent on."""
    clocks = Clocks(teachers.device)
    with tempfile.TemporaryDirectory() as name:
        config = replace(config, out=Path(name) / "labels.zarr", render=by, workers=workers)
        spec = new_spec(config, images, teachers)
        targets = teachers.classes.target_of[images.targets]
        store = LabelStore.create(config.out, spec, images, targets, teachers.classes.names)
        watched = _Watched(0, 1, 0, HashStore(), clocks)
        with clocks.labelling():
            label_blocks(config, images, teachers, store, watched, store.pending_blocks())
    few = len(watched.seen) < 6
    return clocks.between(watched.seen[0 if few else 2], watched.seen[-1 if few else -2])
