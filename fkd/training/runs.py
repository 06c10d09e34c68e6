"""A run folder: config.json, metrics.jsonl (one JSON object a line), last.pt, previous.pt and best.pt."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fkd.config import Selection, TrainConfig
from fkd.errors import ConfigError, FkdError
from fkd.loader import Schedule
from fkd.machine import held, write_whole
from fkd.progress import note
from fkd.students import BEST, Accuracy, Checkpoint, newest_checkpoint, save_checkpoint, save_last
from fkd.training.metrics import METRICS, open_tracker, read_metrics

CONFIG = "config.json"

# A line of training metrics every so many steps.
_LOG_EVERY = 10

# What may differ when a run goes on: where things are and who does the work, not what is computed.
_FREE = {"store", "images", "val", "out", "resume", "workers", "device", "render"}
_FREE |= {"save_every", "eval_every", "eval_last", "num_ranks"}

# Settings that the configuration of an older run does not name, and what it did.
_LATER = {**asdict(Selection()), "stagger": 0}


class Run:
    """What a training run leaves behind, written while it goes; use it in a `with` block.

    `checkpoint` is what a run that goes on begins with, None for a new one. `speed` has the rates of the
    last line of metrics, and the share of time that was spent waiting for data.
    """

    def __init__(self, folder: Path, schedule: Schedule, checkpoint: Checkpoint | None) -> None:
        """Use `open_run`, which makes the folder or finds it."""
        self.folder = folder
        self.checkpoint = checkpoint
        self._schedule = schedule
        self._losses: list[float] = []
        self._loss, self._best, self._saved_step = math.inf, -math.inf, -1
        if checkpoint is not None:
            self._losses = list(checkpoint.losses)
            self._loss, self._best = checkpoint.loss, checkpoint.best
            self._saved_step = checkpoint.step
        self.speed: dict[str, float] = {}
        self._tracker = open_tracker(folder, max(0, self._saved_step))
        self._restart_clock()
        self._saved = time.monotonic()

    def log_step(self, step: int, *, loss: float, lr: float, images: int, waited: float) -> None:
        """Note a step, the images decoded for it and the seconds it waited for data.

        A line is written every few steps.
        """
        self._losses.append(loss)
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
        self._write(kind="train", step=step, epoch=epoch, loss=self._loss, lr=lr, **self.speed)
        self._losses = []
        self._restart_clock()

    def log_evaluation(self, step: int, accuracy: Accuracy, ema: Accuracy | None) -> None:
        """Write an evaluation, of the weights and of their moving average."""
        average = {} if ema is None else {f"ema_{k}": v for k, v in asdict(ema).items()}
        epoch = round(self._schedule.epoch_at(step), 4)
        self._write(kind="eval", step=step, epoch=epoch, **asdict(accuracy), **average)

    def due(self, minutes: float) -> bool:
        """Say whether the last checkpoint is older than `minutes`; 0 turns that off."""
        return minutes > 0 and time.monotonic() - self._saved > 60 * minutes

    def save(self, checkpoint: Checkpoint) -> None:
        """Write last.pt, so that the run can go on from there."""
        same_step = checkpoint.step == self._saved_step
        save_last(self.folder, self._with_progress(checkpoint), same_step=same_step)
        self._saved, self._saved_step = time.monotonic(), checkpoint.step

    def save_if_best(self, checkpoint: Checkpoint, top1: float | None) -> None:
        """Write best.pt where this is the best yet: by top-1 or, without a val folder, by the loss."""
        score = -self._loss if top1 is None else top1
        if score >= self._best:
            self._best = score
            save_checkpoint(self.folder / BEST, self._with_progress(checkpoint))

    def _with_progress(self, checkpoint: Checkpoint) -> Checkpoint:
        return replace(checkpoint, losses=self._losses, loss=self._loss, best=self._best)

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
        self._tracker(line)


@contextmanager
def open_run(config: TrainConfig, schedule: Schedule, about: Mapping[str, Any]) -> Iterator[Run]:
    """Make the run's folder or, with `--resume`, find it; keep other processes out of it.

    Refuses a folder that is in use, and one that holds a run of other settings.
    """
    folder = (
        config.out or (_newest_folder(config) if config.resume else None) or _free_folder(config)
    )
    _goes_on(config, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {folder} cannot be made ({error})") from error
    busy = ConfigError(f"another `fkd train` is at work in {folder}; wait for it or stop it")
    with held(folder, busy, "fkd train"):
        checkpoint = None
        if _goes_on(config, folder):  # asked again: another process may have been faster
            _refuse_another_run(folder, {**config.settings(), **about})
            _note_other_ranks(folder, about)
            checkpoint = newest_checkpoint(folder)
            _forget_after(folder, checkpoint)
        else:
            if config.resume:
                note(f"{folder} holds no run yet: training starts at the beginning")
            _make(folder, {**config.settings(), **about})
        yield Run(folder, schedule, checkpoint)


def _goes_on(config: TrainConfig, folder: Path) -> bool:
    """Say whether the folder holds a run to go on with; refuse one that holds anything else."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; choose a new folder")
    if config.resume and (folder / CONFIG).is_file():
        return True
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(
            f"--out {folder} exists and is not empty; choose a new folder"
            + ("" if config.resume else ", or add --resume to go on with the run in it")
        )
    return False


def _make(folder: Path, content: Mapping[str, Any]) -> None:
    try:
        write_whole(folder / CONFIG, (json.dumps(content, indent=2) + "\n").encode())
    except OSError as error:
        raise ConfigError(f"--out {folder} cannot be made ({error})") from error


def _refuse_another_run(folder: Path, now: Mapping[str, Any]) -> None:
    try:
        before = _LATER | json.loads((folder / CONFIG).read_text("utf-8"))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{folder / CONFIG} is damaged ({error}); start a new run") from error
    for name, value in json.loads(json.dumps(now)).items():
        if name not in _FREE and before.get(name) != value:
            what = (
                f"--{name.replace('_', '-')}" if name in TRAIN_SETTINGS else name.replace("_", " ")
            )
            raise ConfigError(
                f"{folder} was started with other settings: {what} is {_short(value)}, the run has "
                f"{_short(before.get(name))}; use the same to go on with it, or another --out"
            )


def _note_other_ranks(folder: Path, about: Mapping[str, Any]) -> None:
    before = json.loads((folder / CONFIG).read_text("utf-8")).get("num_ranks")
    if before != about["num_ranks"]:
        note(
            f"{folder} was begun by {before} processes, {about['num_ranks']} go on: batch norm and "
            "mixing see other shares, so the weights will not be those of a run without a stop"
        )


TRAIN_SETTINGS = frozenset(TrainConfig().settings())


def _short(value: object) -> str:
    text = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
    return text if len(text) < 60 else text[:57] + "…"


def _forget_after(folder: Path, checkpoint: Checkpoint | None) -> None:
    """Drop the lines of what the checkpoint does not know: it is done again."""
    path = folder / METRICS
    if not path.is_file():
        return
    step, evaluated = (0, True) if checkpoint is None else (checkpoint.step, checkpoint.evaluated)
    kept = []
    for entry in read_metrics(folder):
        again = entry["kind"] == "eval" and not evaluated
        if entry["step"] < step + (0 if again else 1):
            kept.append(json.dumps(entry) + "\n")
    write_whole(path, "".join(kept).encode())


def _stem(config: TrainConfig) -> str:
    student = config.student.replace(":", "-").replace("/", "-")
    return f"{student}-{config.scheme}-m{config.crops_per_image}"


def _free_folder(config: TrainConfig) -> Path:
    """Return the folder that comes after the last of runs/STUDENT-SCHEME-mM-1, -2 and so on."""
    return Path("runs") / f"{_stem(config)}-{max(_numbers(config), default=0) + 1}"


def _newest_folder(config: TrainConfig) -> Path | None:
    """Return the last of runs/STUDENT-SCHEME-mM-1, -2, …, or None where there is none."""
    numbers = _numbers(config)
    return Path("runs") / f"{_stem(config)}-{max(numbers)}" if numbers else None


def _numbers(config: TrainConfig) -> list[int]:
    there = [path.name.removeprefix(_stem(config) + "-") for path in Path("runs").glob("*")]
    return [int(rest) for rest in there if rest.isdecimal()]
