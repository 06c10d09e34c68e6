"""Train speed: `fkd train`'s own steps beside the student alone, and what others do to feed it."""

import time
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import torch
from loss_speed import WAYS, inputs
from online import OnlineLearner
from speed_inputs import label
from torch import Tensor
from train_speed import Batch, pipeline

from fkd import Engine, LabelStore, TeacherChoice, TrainConfig
from fkd.config import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, Term, Weighed, sides_of
from fkd.loader import StudentBatch, plan_steps, student_batches
from fkd.machine import Download
from fkd.sources import list_images
from fkd.students import StudentCard, build_student
from fkd.teachers import Teacher, load_teachers
from fkd.training import Group, Learner
from fkd.views import RenderPool, empty_views

from .clocks import Clocks
from .findings import Finding, Setting
from .small_models import SMALL_STUDENT
from .spent import ENOUGH, Spent

STORED, CLASSES = (Weighed(Term(), 1.0),), (Weighed(Term("truth"), 1.0),)

SECONDS = 2.0

# (crops an image, workers, who renders), the most telling first
FEEDS: dict[str, list[tuple[int, int, str]]] = {
    "resnet50": [
        (4, 2, "device"), (4, 4, "device"), (4, 1, "device"), (1, 4, "device"), (4, 8, "cpu"),
        (1, 8, "device"), (8, 2, "device"), (1, 8, "cpu"),
    ],
    "resnet18": [(4, 4, "device"), (8, 4, "device"), (4, 8, "device"), (4, 16, "cpu")],
}  # fmt: skip


def train_rate(student: str, setting: Setting) -> Iterator[Finding]:
    """Time steps of the student alone on one batch on the device, and of `fkd train`.

    Each rate is held against the student alone, timed just before. The main thread asks the device for
    all; it is held up while another thread has Python's lock or the core, or goes back through the
    network. Shares are of the time; the device's are of spans, in which it may wait for the next
    operation.
    """
    student = SMALL_STUDENT if setting.tiny else student
    store = _store(setting)
    setting.compiled()
    one = _config(setting, store, student)
    learner = _learner(setting, store, one)
    alone = repeat(_batch_on_device(setting, store, one))
    began = time.perf_counter()
    _rate(setting, learner, alone, one.batch_size)
    yield Finding("ready after", {"seconds": round(time.perf_counter() - began, 1)})
    feeds = [(4, 2, "cpu"), (1, 1, "device")] if setting.tiny else FEEDS[student]
    for m, workers, by in feeds:
        if setting.left < (0 if setting.tiny else 8):
            return
        free, _ = _rate(setting, learner, alone, one.batch_size, seconds=SECONDS / 2)
        clocks = Clocks(setting.device)
        with clocks.running(), RenderPool(workers, setting.device, by) as pool:  # type: ignore[arg-type]
            config, chosen = _config(setting, store, student, m), store.labelled_images()
            schedule = plan_steps(config, store, chosen, 1)
            images = list_images(_root(setting))
            batches = student_batches(pool, store, images, schedule)
            rate, spent = _rate(setting, learner, batches, one.batch_size, clocks=clocks)
            batches.close()  # type: ignore[attr-defined]
        aimed = setting.on_cuda and m == 4 and workers == 2
        figures = {
            "views/s": round(rate), "student alone": round(free), "ratio": round(rate / free, 3),
            "held back by": spent.held_back_by(rate / free), **spent.figures(),
        }  # fmt: skip
        what = f"fkd, m = {m}, {workers} worker{'s'[: workers - 1]}, {by} renders"
        yield Finding(what, figures, rate / free >= ENOUGH if aimed else None)


def rivals(setting: Setting) -> Iterator[Finding]:
    """Time resnet50 on torchvision's pipeline with 16 processes, plain and with resnet152 in the loop."""
    store = _store(setting)
    size, batch_size = (
        max(sides_of(store.spec.size)),
        _config(setting, store, "resnet50").batch_size,
    )
    student = SMALL_STUDENT if setting.tiny else "resnet50"
    config = _config(setting, store, student)
    alone = repeat(_batch_on_device(setting, store, config))
    processes = 1 if setting.tiny else 16
    pixels = pipeline(_root(setting), size, batch_size, processes)
    plain = _learner(setting, store, config)
    free, _ = _rate(setting, plain, alone, batch_size)
    rate, _ = _rate(setting, plain, _as_batches(pixels, alone), batch_size, CLASSES)
    figures = {"views/s": round(rate), "student alone": round(free), "ratio": round(rate / free, 3)}
    yield Finding(f"plain, torchvision, {processes} processes", figures)
    name = "resnet18" if setting.tiny else "resnet152"
    choice = TeacherChoice(name, "none", size=size)
    engine = Engine("bf16" if setting.on_cuda else "off")
    teacher = load_teachers([choice], store.class_names(), setting.device, engine).teachers[0]
    online = _learner(setting, store, config, teacher)
    rate, _ = _rate(setting, online, _as_batches(pixels, alone), batch_size)
    figures = {"views/s": round(rate), "student alone": round(free), "ratio": round(rate / free, 3)}
    yield Finding(f"online, {name}, the same pipeline", figures)


def _as_batches(pixels: Iterator[Batch], like: Iterator[StudentBatch]) -> Iterator[StudentBatch]:
    """Bring normalised pixels of a rival back to what our step takes; that costs the device little."""
    known = (IMAGENET_MEAN, IMAGENET_STD)
    mean, std = (torch.tensor(v).view(3, 1, 1).to(next(like).views.device) for v in known)
    for views, targets in pixels:
        assert isinstance(targets, Tensor)
        first = next(like)
        there = views.to(first.views.device, non_blocking=True)
        bytes_ = (there * std + mean).mul_(255).clamp_(0, 255)
        yield StudentBatch(
            bytes_.to(torch.uint8, memory_format=torch.channels_last),
            first.kept,
            targets.to(there.device, non_blocking=True),
            first.image_index,
            first.crop_index,
            first.decoded,
        )


def _rate(
    setting: Setting,
    learner: Learner,
    batches: Iterator[StudentBatch],
    batch_size: int,
    terms: Sequence[Weighed] = STORED,
    seconds: float = SECONDS,
    clocks: Clocks | None = None,
) -> tuple[float, Spent]:
    """Return views/s of training, losses read a step late, and what the time was spent on."""
    clocks = clocks or Clocks(setting.device)
    take_step, coming = clocks.spanned("network", learner.step), clocks.batches(batches)
    unread: Download | None = None
    for step in range(2):
        learner.step(next(batches), step, lr=0.01, terms=terms)
    setting.finish()
    first, steps = clocks.read(0), 0
    while time.perf_counter() - first.wall < (0.2 if setting.tiny else seconds):
        loss = Download(loss=take_step(next(coming), steps + 2, lr=0.01, terms=terms))
        if unread is not None:
            unread.wait()
        unread, steps = loss, steps + 1
    setting.finish()
    spent = clocks.between(first, clocks.read(steps * batch_size))
    return spent.views / spent.seconds, spent


def _root(setting: Setting) -> Any:
    return setting.photos(40 if setting.tiny else 1000)


def _store(setting: Setting) -> LabelStore:
    out = setting.folder / "feed" / "labels.zarr"
    if out.exists():
        return LabelStore.open(out)
    out.parent.mkdir(exist_ok=True)
    return label(_root(setting), out.parent, 32 if setting.tiny else 224)


def _config(setting: Setting, store: LabelStore, student: str, m: int = 1) -> TrainConfig:
    return TrainConfig.from_recipe(
        "fkd", store=store.path, student=student, crops_per_image=m, epochs=1e5,
        batch_size=16 if setting.tiny else 256, device=setting.device_name,
        amp="bf16" if setting.on_cuda else "off", compile=setting.on_cuda and not setting.tiny,
    )  # fmt: skip


def _learner(
    setting: Setting, store: LabelStore, config: TrainConfig, teacher: Teacher | None = None
) -> Learner:
    card = StudentCard(
        config.students[0].model, store.class_names(), Preprocessing(store.spec.size)
    )
    student = build_student(card)
    course = config, card, store.spec.labels, student, setting.device, Group()
    return Learner(*course) if teacher is None else OnlineLearner(teacher, *course)


def _batch_on_device(setting: Setting, store: LabelStore, config: TrainConfig) -> StudentBatch:
    slab = store.read_crops(range(1))
    rows = np.resize(np.arange(store.spec.num_images), config.batch_size)
    views = empty_views(config.batch_size, store.spec.size)
    views.copy_(torch.randint(0, 256, views.shape, dtype=torch.uint8))
    kept = {
        name: torch.from_numpy(values[rows, 0]).to(setting.device)
        for name, values in slab.kept.items()
    }
    targets = torch.from_numpy(slab.target[rows]).to(setting.device)
    return StudentBatch(views.to(setting.device), kept, targets, rows, rows, rows)


def losses(setting: Setting) -> Iterator[Finding]:
    """Time the sparse loss and the dense one, with their gradients, and their memory above the logits."""
    batch_size = 64 if setting.tiny else 1024
    for classes in (1000, 21_841):
        logits, kept = inputs(batch_size, classes)
        logits = logits.detach().to(setting.device).requires_grad_()
        kept = {name: values.to(setting.device) for name, values in kept.items()}
        for name, way in WAYS.items():
            way(logits, kept).backward()  # type: ignore[no-untyped-call]
            logits.grad = None
            setting.finish()
            held = 0
            if setting.on_cuda:
                torch.cuda.reset_peak_memory_stats()
                held = torch.cuda.memory_allocated()
            rounds = 2 if setting.tiny else 50
            began = time.perf_counter()
            for _ in range(rounds):
                way(logits, kept).backward()  # type: ignore[no-untyped-call]
                logits.grad = None
            setting.finish()
            milliseconds = 1e3 * (time.perf_counter() - began) / rounds
            peak = (torch.cuda.max_memory_allocated() - held) / 2**20 if setting.on_cuda else None
            figures = {"ms": round(milliseconds, 3), "MiB": None if peak is None else round(peak)}
            yield Finding(f"{classes:,} classes, {name}", figures)
