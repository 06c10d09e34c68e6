"""Right: where the CPU waits for the device, in labelling and in training."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from fkd import LabelConfig, TeacherChoice, label_images, train_student

from .findings import Finding, Setting
from .short_runs import config
from .small_models import SMALL_TEACHER


def places_that_wait(setting: Setting) -> Iterator[Finding]:
    """Count where the CPU waits for the device once more with each batch, in labelling and in training.

    Each task runs with some batches and with more; a place that waits as much more often is in the loop.
    """
    tasks: dict[str, Callable[[int], int]] = {
        "label, threads render": lambda n: _label(setting, n, render="cpu"),
        "label, the device renders": lambda n: _label(setting, n, render="device"),
        "train, threads render": lambda n: _train(setting, n, render="cpu"),
        "train, the device renders": lambda n: _train(setting, n, render="device", stagger=0),
        "train, all options": lambda n: _train(setting, n, **ALL_OPTIONS),
        "train, fp16": lambda n: _train(setting, n, amp="fp16"),
    }
    sizes = (2, 3) if setting.tiny else (4, 12)
    for name, task in tasks.items():
        if setting.on_cuda:
            task(sizes[0])  # what is made once is made
        (batches, few), (more_batches, many) = (_waits(setting, task, n) for n in sizes)
        grown = many - few
        often = {place: n for place, n in grown.items() if n >= 0.5 * (more_batches - batches)}
        figures = {
            "beside the loop": few.total(),
            f"more with {more_batches - batches} more batches": ", ".join(
                f"{place} × {n}" for place, n in sorted(often.items())
            )
            or "none",
        }
        yield Finding(name, figures, not often)


ALL_OPTIONS: dict[str, Any] = {
    "ema": 0.9, "mixup": 0.2, "color_jitter": 0.4, "clip_grad": 1.0, "amp": "bf16", "micro_batch": 7,
}  # fmt: skip


def _waits(setting: Setting, task: Callable[[int], int], size: int) -> tuple[int, "Counter[str]"]:
    """Return how many batches a task had, and how often each line of code waited."""
    if setting.on_cuda:
        torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        batches = task(size)
    if setting.on_cuda:
        torch.cuda.set_sync_debug_mode("default")
    places = (w for w in raised if "synchroniz" in str(w.message))
    lines = (f"{Path(w.filename).parent.name}/{Path(w.filename).name}:{w.lineno}" for w in places)
    return batches, Counter(lines)


def _label(setting: Setting, crops: int, **more: Any) -> int:
    teacher, out = TeacherChoice(SMALL_TEACHER, size=32), setting.folder / "waits.zarr"
    batch_size = 16 if setting.tiny else 64
    store = label_images(
        LabelConfig(
            setting.pictures(), teacher, out, crops, batch_size=batch_size,
            device=setting.device_name, overwrite=True, **more,
        )
    )  # fmt: skip
    return store.spec.num_images * crops // batch_size


def _train(setting: Setting, steps: int, **more: Any) -> int:
    train_student(config(setting, setting.folder / "waits", steps=steps, **more))
    return steps
