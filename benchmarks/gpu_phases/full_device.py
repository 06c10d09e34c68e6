"""Right: a device without room."""

from collections.abc import Callable, Iterator

import torch

from fkd import LabelConfig, TeacherChoice, label_images, train_student

from .findings import Finding, Setting
from .short_runs import config

ROOM = 600 * 2**20  # bytes: a network has room, and a large batch has none


def a_full_device(setting: Setting) -> Iterator[Finding]:
    """Run out of memory: one line must say what to do."""
    if not setting.on_cuda:
        yield Finding("only a GPU can be made small", {})
        return
    torch.cuda.empty_cache()
    held = torch.cuda.memory_allocated(setting.device)  # by networks that were compiled before
    whole = torch.cuda.get_device_properties(setting.device).total_memory
    torch.cuda.set_per_process_memory_fraction((held + ROOM) / whole)
    try:
        yield from _out_of_memory(setting)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def _out_of_memory(setting: Setting) -> Iterator[Finding]:
    labels = LabelConfig(
        setting.pictures(), TeacherChoice("resnet50", "none", size=224), setting.folder / "full.zarr",
        8, batch_size=2048, device=setting.device_name, render="cpu",
    )  # fmt: skip
    big = {
        "student": "resnet50",
        "batch_size": 800,
        "micro_batch": 800,
        "steps": 2,
        "render": "cpu",
    }
    run = config(setting, setting.folder / "full", **big)
    tasks: dict[str, Callable[[], object]] = {
        "label": lambda: label_images(labels),
        "train": lambda: train_student(run),
    }
    for name, task in tasks.items():
        try:
            task()
            said = "nothing: it had room"
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        named = (
            said.startswith("FkdError")
            and {"label": "--batch-size", "train": "--micro-batch"}[name] in said
        )
        yield Finding(name, {"said": said}, named)
