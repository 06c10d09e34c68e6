"""A run folder: config.json, metrics.jsonl (one JSON object a line), last.pt and best.pt."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from fkd.config import TrainConfig
from fkd.errors import ConfigError
from fkd.evaluate import Accuracy
from fkd.schedule import Schedule
from fkd.students import StudentCard, save_checkpoint

# A line of training metrics every so many steps.
_LOG_EVERY = 10


class Run:
    """What a training run leaves behind, written while it goes."""

    def __init__(self, config: TrainConfig, schedule: Schedule, about: Mapping[str, Any]) -> None:
        """Make the folder and write the whole configuration; a folder that is in use is refused."""
        self.folder = config.out or _free_folder(config)
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise ConfigError(f"--out {self.folder} exists and is not empty; choose a new folder")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--out {self.folder} cannot be made ({error})") from error
        content = {**asdict(config), "scheme": str(config.scheme), **about}
        text = json.dumps(content, indent=2, default=str) + "\n"
        (self.folder / "config.json").write_text(text, "utf-8")
        self._schedule = schedule
        self._losses: list[float] = []
        self._waited = 0.0
        self._since = time.perf_counter()
        self._best = -math.inf
        self._loss = math.inf

    def log_step(self, step: int, *, loss: float, lr: float, waited: float) -> None:
        """Note a step and the seconds it waited for data; write a line every few steps."""
        self._losses.append(loss)
        self._loss = sum(self._losses) / len(self._losses)
        self._waited += waited
        if step % _LOG_EVERY and step != self._schedule.total_steps:
            return
        seconds, steps = time.perf_counter() - self._since, len(self._losses)
        self._write(
            kind="train",
            step=step,
            epoch=round(self._schedule.epoch_at(step), 4),
            loss=self._loss,
            lr=lr,
            views_per_s=steps * self._schedule.batch_size / seconds,
            images_per_s=steps * self._schedule.images_per_batch / seconds,
            data_wait=self._waited / seconds,
        )
        self._losses, self._waited, self._since = [], 0.0, time.perf_counter()

    def finish_evaluation(
        self,
        step: int,
        accuracy: Accuracy | None,
        card: StudentCard,
        student: nn.Module,
        state: dict[str, Any],
    ) -> None:
        """Write the evaluation and last.pt, and best.pt where it is the best yet.

        Best is by top-1 or, where there is no val folder, by the training loss.
        """
        measured = {} if accuracy is None else asdict(accuracy)
        if accuracy is not None:
            self._write(kind="eval", step=step, epoch=self._schedule.epoch_at(step), **measured)
        state = {"accuracy": measured, **state}
        save_checkpoint(self.folder / "last.pt", card, student, state)
        score = -self._loss if accuracy is None else accuracy.top1
        if score >= self._best:
            self._best = score
            save_checkpoint(self.folder / "best.pt", card, student, state)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep what happens inside, such as an evaluation, out of the training speed."""
        began = time.perf_counter()
        yield
        self._since += time.perf_counter() - began

    def _write(self, **line: object) -> None:
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _free_folder(config: TrainConfig) -> Path:
    """Return the first of runs/STUDENT-SCHEME-mM-1, -2, … that does not exist."""
    stem = f"{config.student}-{config.scheme}-m{config.crops_per_image}"
    number = 1
    while (folder := Path("runs") / f"{stem}-{number}").exists():
        number += 1
    return folder
