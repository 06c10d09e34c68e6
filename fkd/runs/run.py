"""What a run writes while it goes: lines of metrics.jsonl, and last.pt, previous.pt and best.pt."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fkd.errors import FkdError
from fkd.evaluation import Judgement
from fkd.loader import Schedule
from fkd.machine import write_whole
from fkd.runs.metrics import METRICS
from fkd.runs.tracking import Trackers
from fkd.students import BEST, Checkpoint, save_checkpoint, save_last

# Images that a run leaves out since they are not there.
MISSING = "missing.txt"

# A line of training metrics every so many steps.
_LOG_EVERY = 10


class Run:
    """Writes the metrics and checkpoints of a training run.

    `checkpoint` is where a continued run begins, None for a new run. `speed` has the rates of the last
    line of metrics, and the share of time that was spent waiting for data.
    """

    def __init__(
        self,
        folder: Path,
        schedule: Schedule,
        checkpoint: Checkpoint | None,
        trackers: Trackers,
    ) -> None:
        """Write to `folder`, which `open_run` makes or finds, and locks."""
        self.folder = folder
        self.checkpoint = checkpoint
        self._schedule = schedule
        self._losses: list[float] = []
        self._parts: dict[str, list[float]] = {}
        self._loss, self._best, self._saved_step = math.inf, -math.inf, -1
        if checkpoint is not None:
            self._losses = list(checkpoint.losses)
            self._parts = {name: list(values) for name, values in checkpoint.parts.items()}
            self._loss, self._best = checkpoint.loss, checkpoint.best
            self._saved_step = checkpoint.step
        self.speed: dict[str, float] = {}
        self._trackers = trackers
        self._restart_clock()
        self._saved = time.monotonic()

    def log_step(
        self,
        step: int,
        *,
        loss: float,
        lr: float,
        images: int,
        waited: float,
        parts: Mapping[str, float] | None = None,
    ) -> None:
        """Count a step, the images decoded for it and the seconds it waited for data.

        `parts` are losses of other students and of terms, by their names in metrics. Every tenth step
        writes a line, and the last step.
        """
        self._losses.append(loss)
        for name, value in (parts or {}).items():
            self._parts.setdefault(name, []).append(value)
        self._loss = sum(self._losses) / len(self._losses)
        self._waited += waited
        self._steps += 1
        self._images += images
        if step % _LOG_EVERY and step != self._schedule.total_steps:
            return
        seconds = max(time.perf_counter() - self._since, 1e-9)
        self.speed = {
            "views_per_s": self._steps * self._schedule.batch_size / seconds,
            "images_per_s": self._images / seconds,
            "data_wait": self._waited / seconds,
        }
        epoch = round(self._schedule.epoch_at(step), 4)
        # A term weighs nothing in steps where it is not named.
        parts = {name: sum(values) / len(self._losses) for name, values in self._parts.items()}
        line = {"loss": self._loss, "lr": lr, **parts, **self.speed}
        self._write(kind="train", step=step, epoch=epoch, **line)
        self._losses, self._parts = [], {}
        self._restart_clock()

    def log_evaluation(self, step: int, evaluated: Mapping[str, Judgement]) -> None:
        """Write an evaluation: judgements by what stands before the names of their numbers in metrics.

        That is nothing for the first student's weights and "ema_" for their moving average; it is "NAME/"
        and "NAME/ema_" for another's.
        """
        numbers = {
            f"{before}{name}": value
            for before, judgement in evaluated.items()
            for name, value in judgement.numbers.items()
        }
        epoch = round(self._schedule.epoch_at(step), 4)
        self._write(kind="eval", step=step, epoch=epoch, **numbers)

    def catch_up(self) -> None:
        """Send trackers what they lack of a run that is finished."""
        self._trackers.catch_up()

    def keep_missing(self, keys: Sequence[str]) -> None:
        """Keep the keys of images that the run leaves out since they are missing, one a line."""
        if not keys:
            return
        try:
            text = "".join(f"{key}\n" for key in keys)
            write_whole(self.folder / MISSING, text.encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise FkdError(
                f"{self.folder / MISSING} cannot be written ({error}); make room, and go on with --resume"
            ) from error

    @property
    def loss(self) -> float:
        """The mean loss of the steps since the last line of metrics, or of those that it is of."""
        return self._loss

    def due(self, minutes: float) -> bool:
        """Say whether the last checkpoint is older than `minutes`; 0 turns that off."""
        return minutes > 0 and time.monotonic() - self._saved > 60 * minutes

    def save(self, checkpoint: Checkpoint) -> None:
        """Write last.pt, so that the run can go on from there."""
        same_step = checkpoint.step == self._saved_step
        save_last(self.folder, self._with_progress(checkpoint), same_step=same_step)
        self._saved, self._saved_step = time.monotonic(), checkpoint.step

    def save_if_best(self, checkpoint: Checkpoint, score: float | None) -> None:
        """Write best.pt where this is the best yet: by its score or, without an evaluation, the loss."""
        score = -self._loss if score is None else score
        if score >= self._best:
            self._best = score
            save_checkpoint(self.folder / BEST, self._with_progress(checkpoint))

    def _with_progress(self, checkpoint: Checkpoint) -> Checkpoint:
        return replace(
            checkpoint, losses=self._losses, parts=self._parts, loss=self._loss, best=self._best
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep what happens inside, such as an evaluation, out of the training speed."""
        began = time.perf_counter()
        yield
        self._since += time.perf_counter() - began

    def _restart_clock(self) -> None:
        self._waited, self._steps, self._images = 0.0, 0, 0
        self._since = time.perf_counter()

    def _write(self, **line: Any) -> None:
        try:
            with (self.folder / METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise FkdError(
                f"{self.folder / METRICS} cannot be written ({error}); make room, and go on with --resume"
            ) from error
        self._trackers.log(line)
