"""Right: where the CPU waits for the device, in labelling and in training."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fkd import LabelConfig, TeacherChoice, label_images, train_student
from fkd.config import MixPolicy, Scheme, Target, ViewPolicy

from .findings import Finding, Setting
from .short_runs import config
from .small_models import SMALL_TEACHER
from .stores import line_labels, map_labels, picture_labels

Places = Counter[str]  # how often each line of code waited

ALL_OPTIONS: dict[str, Any] = {
    "ema": 0.9, "mixup": 0.2, "color_jitter": 0.4, "clip_grad": 1.0, "amp": "bf16", "micro_batch": 7,
}  # fmt: skip
MIXED = ViewPolicy(mix=MixPolicy(mixup=0.5, cutmix=0.5))
VECTORS = Target("features"), Target("3", "f16")  # type: ignore[arg-type]
SMALL = TeacherChoice(SMALL_TEACHER, size=32)

# Ways to label that came after the plain one: who says how, and what of it is otherwise.
OTHER_LABELS: Mapping[str, tuple[Callable[[Setting], LabelConfig], Mapping[str, Any]]] = {
    "maps": (map_labels, {}),
    "lines": (line_labels, {}),
    "vectors": (picture_labels, {"targets": VECTORS, "teacher": SMALL}),
    "mixed views": (picture_labels, {"views": MIXED, "teacher": SMALL}),
    "samples": (picture_labels, {"scheme": Scheme.parse("samples8"), "teacher": SMALL}),
    "two teachers": (picture_labels, {"teacher": (SMALL, SMALL)}),
}  # fmt: skip


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
    for name, task in tasks.items():
        if setting.on_cuda:
            task(4)  # what is made once is made
        yield _compared(name, setting, task, (2, 3) if setting.tiny else (4, 12))


def other_labels_that_wait(setting: Setting) -> Iterator[Finding]:
    """Count where labelling waits for the device once more with each batch, of all but plain labels.

    The device renders. What students of such labels wait for stands beside their terms.
    """
    for name, (how, more) in OTHER_LABELS.items():
        task = partial(_label_otherwise, setting, replace(how(setting), **more))
        yield _compared(f"label, {name}", setting, task, (1, 2) if setting.tiny else (2, 5))


def _compared(
    name: str, setting: Setting, task: Callable[[int], int], sizes: tuple[int, int]
) -> Finding:
    """Run a task with some batches and with more; it takes a size, and returns the number of batches."""
    batches, waits = [], []
    for size in sizes:
        with noted_waits(setting) as places:
            batches.append(task(size))
        waits.append(places)
    more, grown = batches[1] - batches[0], waits[1] - waits[0]
    often = Counter({place: n for place, n in grown.items() if n >= 0.5 * more})
    figures = {
        "beside the loop": waits[0].total(), "more batches": more, "waits of theirs": in_words(often),
    }  # fmt: skip
    return Finding(name, figures, not often)


def in_words(places: Places) -> str:
    """Return places and how often each waited, "none" where there are none."""
    return ", ".join(f"{place} × {n}" for place, n in sorted(places.items())) or "none"


@contextmanager
def noted_waits(setting: Setting) -> Iterator[Places]:
    """Note how often each line of code waits for the device."""
    places = Counter[str]()
    if setting.on_cuda:
        torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            yield places
    finally:
        if setting.on_cuda:
            torch.cuda.set_sync_debug_mode("default")
    waits = (
        (*Path(w.filename).parts[-2:], w.lineno) for w in raised if "synchroniz" in str(w.message)
    )
    places.update(f"{folder}/{file}:{line}" for folder, file, line in waits)


def _label(setting: Setting, crops: int, **more: Any) -> int:
    labels = LabelConfig(
        setting.pictures(), SMALL,
        batch_size=16 if setting.tiny else 64, device=setting.device_name, **more,
    )  # fmt: skip
    return _label_otherwise(setting, labels, crops)


def _label_otherwise(setting: Setting, labels: LabelConfig, crops: int) -> int:
    out = setting.folder / "waits.zarr"
    render = labels.render if labels.render != "auto" else "device"
    batch_size = labels.batch_size or (8 if setting.tiny else 32)
    labels = replace(
        labels, out=out, num_crops=crops, overwrite=True, render=render, batch_size=batch_size
    )
    return label_images(labels).spec.num_images * crops // batch_size


def _train(setting: Setting, steps: int, **more: Any) -> int:
    train_student(config(setting, setting.folder / "waits", steps=steps, **more))
    return steps
