"""Worth: students of the same crops, plain, with the teacher in the loop, and of stored labels."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from online import train_online
from teacher import Tuning, prepare

from fkd import (
    LabelConfig,
    LabelStore,
    Scheme,
    TeacherChoice,
    TrainConfig,
    label_images,
    train_student,
)
from fkd.runs import read_metrics
from fkd.sources import dataset_root, list_images
from fkd.teachers import load_teachers

from .findings import Finding, Setting
from .small_models import SMALL_STUDENT

WAYS: dict[str, dict[str, Any]] = {
    "plain": {"hard_weight": 1.0},
    "online": {},
    "fkd, top-5, m = 4": {"crops_per_image": 4, "scheme": Scheme("topk", 5)},
}


def students(setting: Setting) -> Iterator[Finding]:
    """Train resnet18 at 128 px on the images that were given, seed after seed while there is time.

    The teacher is tuned on the images first. Top-1 is of the val folder after the last step, in percent.
    """
    if (setting.images is None or setting.teacher is None) and not setting.tiny:
        yield Finding("not run: --images and --teacher were not given")
        return
    folder = setting.images or setting.pictures()
    given = setting.teacher or TeacherChoice("resnet18", "none")
    size, crops, batch, epochs = (32, 4, 8, 1) if setting.tiny else (128, 50, 128, 50)
    choice = prepare(
        replace(given, size=size), folder, setting.folder / "teacher",
        Tuning(epochs=0 if setting.tiny else 4),
    )  # fmt: skip
    began = time.perf_counter()
    out = setting.folder / "worth.zarr"
    amp = {"amp": "bf16"} if setting.on_cuda else {}
    store = label_images(
        LabelConfig(
            folder, choice, out, crops, scheme=Scheme("full"), device=setting.device_name,
            workers=2 if setting.tiny else 8,
        )
    )  # fmt: skip
    seconds = time.perf_counter() - began
    images = store.spec.num_images
    yield Finding("labelled", {"images": images, "seconds": round(seconds, 1)})
    slowest = 0.0
    for seed in range(1 if setting.tiny else 20):
        for name, more in WAYS.items():
            if setting.left < 1.2 * slowest:
                return
            began = time.perf_counter()
            run = setting.folder / f"worth-{seed}-{name[:3]}"
            settings: dict[str, Any] = {
                "store": store.path, "images": folder, "out": run,
                "student": SMALL_STUDENT if setting.tiny else "resnet18",
                "crops_per_image": 1, "scheme": Scheme("full"), "batch_size": batch, "epochs": epochs,
                "lr": 1.0, "warmup_epochs": 1, "eval_every": epochs, "seed": seed,
                "device": setting.device_name, "workers": 2 if setting.tiny else 16,
            }  # fmt: skip
            config = TrainConfig.from_recipe("fkd", **(settings | amp | more))
            _train(setting, name, config, choice, store)
            seconds = time.perf_counter() - began
            slowest = max(slowest, seconds)
            top1 = next(x["top1"] for x in reversed(read_metrics(run)) if x["kind"] == "eval")
            figures = {"seed": seed, "top-1, %": round(100 * top1, 1), "seconds": round(seconds, 1)}
            yield Finding(name, figures)


def _train(
    setting: Setting, name: str, config: TrainConfig, choice: TeacherChoice, store: LabelStore
) -> None:
    if name != "online":
        train_student(config)
        return
    listed = list_images(dataset_root(config.images or Path(store.spec.images_root)))
    teacher = load_teachers([choice], listed.classes, setting.device).teachers[0]
    train_online(config, teacher)
