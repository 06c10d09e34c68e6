"""Label speed: `fkd label` beside the teacher's pure forward pass on views that lie on the device."""

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from pathlib import Path

import torch
from label_speed import batches_in_memory
from torch.distributed import HashStore  # type: ignore[attr-defined]

from fkd import Engine, LabelConfig, LabelStore, Scheme, TeacherChoice
from fkd.config import Render, Target
from fkd.images import ImageList
from fkd.labelling import Ranks, label_blocks, new_spec
from fkd.sources import list_images
from fkd.teachers import Ensemble, load_teachers

from .clocks import Clocks, Reading
from .findings import Finding, Setting
from .small_models import MAP_TEACHER, SMALL_TEACHER
from .spent import ENOUGH, Spent

Feed = tuple[Render, int]  # who renders, and with how many workers
FEEDS: tuple[Feed, ...] = (("device", 2), ("device", 4), ("cpu", 8), ("device", 8))
CROPS = 50
ROUNDS = 2
SECONDS = 1.2  # of a round, about, at the speed of the forward pass


def label_rate(teacher: str, setting: Setting, *, compiled: bool = True) -> Iterator[Finding]:
    """Time a teacher's forward pass and `fkd label` in turn, by who renders and with how many workers.

    All of `fkd label` is of its middle: from the third batch to the last but one. Its main thread draws
    views and asks the device for all; it is held up while another thread has Python's lock or the core.
    Shares are of the time; the device's are of spans, in which it may wait for the next operation.
    """
    teacher, weights = (SMALL_TEACHER, "default") if setting.tiny else (teacher, "none")
    choice = TeacherChoice(teacher, weights, size=32 if setting.tiny else 224)
    yield from _rates(
        setting, _config(setting, choice, compiled=compiled), FEEDS[1:3] if setting.tiny else FEEDS
    )


def other_label_rates(setting: Setting) -> Iterator[Finding]:
    """Time what says maps and what says vectors, and `fkd label` with it, as the tables above have it.

    Maps are of 21 classes, kept as topk5-coarse, and vectors are the embeddings of vit_b_16 as int8.
    """
    tiny, weights = setting.tiny, "default" if setting.tiny else "none"
    says_maps = TeacherChoice(
        MAP_TEACHER if tiny else "lraspp_mobilenet_v3_large", weights, size=32 if tiny else 256
    )
    maps = replace(_config(setting, says_maps), unlabelled=True)
    says_vectors = TeacherChoice(
        SMALL_TEACHER if tiny else "vit_b_16", weights, size=32 if tiny else 224
    )
    vectors = replace(
        _config(setting, says_vectors), scheme=Scheme("none"), targets=(Target("features"),)
    )
    for name, config in (("maps", maps), ("vectors", vectors)):
        for finding in _rates(setting, config, FEEDS[:1] if tiny else FEEDS[:2]):
            yield replace(finding, what=f"{name}: {finding.what}")


def _config(setting: Setting, choice: TeacherChoice, *, compiled: bool = False) -> LabelConfig:
    engine = Engine("bf16" if setting.on_cuda else "off", compiled and not setting.tiny)
    return LabelConfig(
        setting.photos(20), choice, num_crops=4 if setting.tiny else CROPS,
        batch_size=8 if setting.tiny else 256, device=setting.device_name, engine=engine,
    )  # fmt: skip


def _rates(setting: Setting, config: LabelConfig, feeds: Sequence[Feed]) -> Iterator[Finding]:
    """Time the forward pass and all of labelling in turn."""
    if config.engine.compile:
        setting.compiled()
    began = time.perf_counter()
    images = _listed(config)
    teachers = _teachers(config, images, setting.device)
    batches = [
        (views.to(setting.device), count)
        for views, count in batches_in_memory(config, images, teachers)
        if count == config.batch_size
    ]
    _forward_rate(setting, config, batches, teachers)
    yield Finding("ready after", {"seconds": round(time.perf_counter() - began, 1)})
    if setting.on_cuda:
        torch.cuda.reset_peak_memory_stats()
    rate = _forward_rate(setting, config, batches, teachers)
    count = 20 if setting.tiny else max(40, round(rate * SECONDS / config.crops))
    config = replace(config, images=setting.photos(count))
    images = _listed(config)
    pure: dict[Feed, list[float]] = defaultdict(list)
    ours: dict[Feed, list[Spent]] = defaultdict(list)
    yield Finding("forward, views on the device", {"views/s": round(rate)})
    for _ in range(1 if setting.tiny else ROUNDS):
        for feed in feeds:
            if setting.left < 5 * SECONDS and not setting.tiny:
                break
            pure[feed].append(_forward_rate(setting, config, batches, teachers))
            ours[feed].append(_label(config, images, teachers, *feed))
    for feed in feeds:
        yield _finding(setting, feed, pure[feed], ours[feed])
    if setting.on_cuda:
        mib = torch.cuda.max_memory_allocated() / 2**20
        yield Finding("memory of the device at most", {"MiB": round(mib)})


def _finding(setting: Setting, feed: Feed, pure: Sequence[float], ours: Sequence[Spent]) -> Finding:
    what = f"{feed[0]} renders, {feed[1]} workers"
    if not ours:
        return Finding(f"{what}: no time was left")
    rates = [spent.views / spent.seconds for spent in ours]
    ratio = statistics.median(b / a for a, b in zip(pure, rates, strict=True))
    spent = reduce(add, ours)
    figures = {
        "views/s": round(statistics.median(rates)), "of the forward": round(ratio, 3),
        "held back by": spent.held_back_by(ratio), **spent.figures(),
    }  # fmt: skip
    aimed = feed[1] <= 4 and setting.on_cuda
    return Finding(what, figures, ratio >= ENOUGH if aimed else None)


def _listed(config: LabelConfig) -> ImageList:
    return list_images(config.images, unlabelled=config.unlabelled)


def _teachers(config: LabelConfig, images: ImageList, device: torch.device) -> Ensemble:
    labels = config.kept.kind != "none"
    return load_teachers(
        config.teachers, None if config.unlabelled else images.classes, device, config.engine,
        targets=config.targets, labels=labels,
    )  # fmt: skip


def _forward_rate(
    setting: Setting,
    config: LabelConfig,
    batches: list[tuple[torch.Tensor, int]],
    teachers: Ensemble,
) -> float:
    """Return how many views a second the teachers alone label that lie on the device."""
    views, seconds, labels = 0, 0.0, config.kept.kind != "none"
    while seconds < (0.2 if setting.tiny else 0.5):
        setting.finish()
        began = time.perf_counter()
        for seen, count in batches:
            teachers.say([seen], count, 1.0, labels=labels)
            views += count
        setting.finish()
        seconds += time.perf_counter() - began
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
        targets = None if config.unlabelled else teachers.classes.target_of[images.targets]
        store = LabelStore.create(config.out, spec, images, targets, teachers.classes.names)
        watched = _Watched(0, 1, 0, HashStore(), clocks)
        with clocks.labelling():
            label_blocks(config, images, teachers, store, watched, store.pending_blocks())
    few = len(watched.seen) < 6
    return clocks.between(watched.seen[0 if few else 2], watched.seen[-1 if few else -2])
