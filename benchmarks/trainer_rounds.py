"""One round of training in each trainer that has a page in the docs, plain or on stored labels."""

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from train_speed import photos

from fkd import StudentLoader, soft_cross_entropy
from fkd.machine import place
from fkd.models import build

FOREVER = 1e5  # epochs; no round ends a run


@dataclass
class Watch:
    """The moments at which steps ended; the first `skipped` of them are left out."""

    skipped: int
    ends: list[float] = field(default_factory=list)

    def end_step(self) -> None:
        """Note that a step has ended, on a GPU too."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """Seconds a step."""
        ends = self.ends[self.skipped :]
        return (ends[-1] - ends[0]) / (len(ends) - 1)


class Repeated(Dataset[Any]):
    """An image folder that is long enough for a round: workers that start anew would be timed too."""

    def __init__(self, images: Dataset[Any], times: int) -> None:
        self.images, self.times = images, times

    def __len__(self) -> int:
        return len(self.images) * self.times  # type: ignore[arg-type]

    def __getitem__(self, number: int) -> Any:
        return self.images[number % (len(self) // self.times)]


@dataclass(frozen=True)
class Setting:
    """What all trainers are given."""

    root: Path
    store: Path
    num_classes: int
    size: int
    batch_size: int
    crops: int
    steps: int
    workers: int
    device: torch.device

    def folder(self) -> DataLoader[Any]:
        """Return the usual batches (images, classes) of a folder, for one long epoch."""
        data = Repeated(photos(self.root, self.size), 100)
        return DataLoader(
            data, self.batch_size, shuffle=True, drop_last=True, num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
        )  # fmt: skip

    @property
    def of_loader(self) -> dict[str, Any]:
        """Settings of a loader of stored labels."""
        return {
            "images": self.root, "crops_per_image": self.crops, "batch_size": self.batch_size,
            "epochs": FOREVER, "workers": self.workers,
        }  # fmt: skip

    def stored(self) -> StudentLoader:
        """Return the batches of the store."""
        return StudentLoader(self.store, **self.of_loader, device=str(self.device))


Round = Callable[[Setting, bool, Watch], None]


def plain_loop(setting: Setting, stored: bool, watch: Watch) -> None:
    """Train in a loop of one's own."""
    model = place(build("mobilenet_v3_small", setting.num_classes, setting.size), setting.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    source: Iterable[Any] = setting.stored().batches() if stored else setting.folder()
    for (images, labels), _ in zip(source, range(setting.steps), strict=False):
        images = images.to(setting.device, non_blocking=True, memory_format=torch.channels_last)
        labels = labels.to(setting.device, non_blocking=True)
        optimizer.zero_grad()
        loss = loss_of(model(images), labels, stored)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        watch.end_step()


def loss_of(logits: Tensor, labels: Any, stored: bool) -> Tensor:
    """Return cross-entropy to classes or to stored labels."""
    if stored:
        return soft_cross_entropy(logits, labels).mean()
    return functional.cross_entropy(logits, labels)


def timm_script(setting: Setting, stored: bool, watch: Watch) -> None:
    """Train as a script on timm's tasks does."""
    import timm
    from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
    from timm.task import ClassificationTask

    from fkd.integrations.timm import StoredLabelsLoader, StoredLabelsTask

    model = timm.create_model("mobilenetv3_small_100", num_classes=setting.num_classes)
    model = place(model, setting.device).train()
    source: Any = setting.folder()
    task = ClassificationTask(model, nn.CrossEntropyLoss(), verbose=False)
    if stored:
        source = StoredLabelsLoader(setting.store, **setting.of_loader, device=str(setting.device))
        task = StoredLabelsTask(model, source, verbose=False)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=1e-4)
    while len(watch.ends) < setting.steps:
        for images, target in source:
            images = images.to(setting.device, non_blocking=True, memory_format=torch.channels_last)
            optimizer.zero_grad()
            task(images, target.to(setting.device, non_blocking=True))["loss"].backward()
            optimizer.step()
            watch.end_step()
            if len(watch.ends) == setting.steps:
                break


def lightning_fit(setting: Setting, stored: bool, watch: Watch) -> None:
    """Train by Lightning's Trainer."""
    from lightning.pytorch import Callback, LightningModule, Trainer

    from fkd.integrations.lightning import StudentDataModule

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = build("mobilenet_v3_small", setting.num_classes, setting.size)
            self.model.to(memory_format=torch.channels_last)

        def training_step(self, batch: Any, number: int) -> Tensor:
            images, labels = batch
            return loss_of(self.model(images.to(memory_format=torch.channels_last)), labels, stored)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=1e-4, momentum=0.9)

    class EndOfStep(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            watch.end_step()

    trainer = Trainer(
        accelerator="cpu" if setting.device.type == "cpu" else "auto", devices=1, logger=False,
        max_steps=setting.steps, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[EndOfStep()],
    )  # fmt: skip
    if stored:
        data = StudentDataModule(setting.store, val="none", **setting.of_loader)
        trainer.fit(Module(), datamodule=data)
    else:
        trainer.fit(Module(), setting.folder())


def transformers_train(setting: Setting, stored: bool, watch: Watch) -> None:
    """Train by transformers' Trainer."""
    from transformers import (
        MobileNetV2Config,
        MobileNetV2ForImageClassification,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from fkd.integrations.transformers import StudentTrainer

    class EndOfStep(TrainerCallback):  # type: ignore[misc]  # its types take minutes to read
        def on_step_end(self, *_: Any, **__: Any) -> None:
            watch.end_step()

    def collate(samples: list[Any]) -> dict[str, Tensor]:
        images, classes = zip(*samples, strict=True)
        return {"pixel_values": torch.stack(images), "labels": torch.tensor(classes)}

    config = MobileNetV2Config(
        num_labels=setting.num_classes, image_size=setting.size, depth_multiplier=0.35
    )
    with tempfile.TemporaryDirectory() as out:
        args = TrainingArguments(
            out, max_steps=setting.steps, per_device_train_batch_size=setting.batch_size,
            report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True,
            dataloader_num_workers=setting.workers, remove_unused_columns=False,
            use_cpu=setting.device.type == "cpu", optim="sgd",
        )  # fmt: skip
        kind = StudentTrainer if stored else Trainer
        data = setting.stored() if stored else Repeated(photos(setting.root, setting.size), 100)
        kind(
            MobileNetV2ForImageClassification(config), args, train_dataset=data,
            data_collator=collate, callbacks=[EndOfStep()],
        ).train()  # fmt: skip


ROUNDS: dict[str, Round] = {
    "a plain loop": plain_loop,
    "timm": timm_script,
    "Lightning": lightning_fit,
    "transformers": transformers_train,
}
