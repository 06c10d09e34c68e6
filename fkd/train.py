"""`fkd train`: train a student on stored crops and their soft labels; no teacher is ever loaded."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import Preprocessing, TrainConfig
from fkd.errors import ConfigError, FkdError, Stopped, first_line, of_compiler
from fkd.group import Group, joined
from fkd.images import ImageList
from fkd.learner import Learner, views_at_a_time
from fkd.loader import (
    Picks,
    Schedule,
    find_val,
    learning_rate,
    open_store,
    plan,
    select_crops,
    student_batches,
)
from fkd.machine import Download, StopRequest, device_memory, remembered_signals, resolve_device
from fkd.models import check_fit, try_out
from fkd.plots import plot_runs
from fkd.progress import note, progress
from fkd.runs import Run, open_run
from fkd.store import LabelStore, find_images, to_json
from fkd.students import Accuracy, StudentCard, build_student, evaluate, give_weights, is_function
from fkd.views import Renderer


@dataclass(frozen=True)
class _Course:
    """What a run works with: all that is settled before the first step."""

    config: TrainConfig
    store: LabelStore
    images: ImageList
    val: ImageList | None
    schedule: Schedule
    picks: Picks | None
    card: StudentCard
    group: Group


def train_student(config: TrainConfig, *, learner: Callable[..., Learner] = Learner) -> Path:
    """Train a student from a label store; return the run folder with its checkpoints and metrics.

    `learner` makes the learner: a subclass of `Learner` may take its labels from elsewhere. Under
    torchrun the processes share every batch. Raises `FkdError` for bad input, before the first step
    wherever that can be known, and `Stopped` where a signal ended the run with all saved.
    """
    with joined(config.device) as group:
        course = _prepare(config, group)
        torch.manual_seed(config.seed)
        device = resolve_device(group.device)
        with device_memory("choose a smaller --student"):
            learns = _build_learner(course, device, learner)
        if not group.leads:
            return _follow(course, learns)
        about = {
            "total_steps": course.schedule.total_steps,
            "store_spec": to_json(course.store.spec),
            "num_ranks": group.size,
        }
        with open_run(config, course.schedule, about) as run:
            checkpoint = group.share(run.checkpoint)
            _fit(course, learns, run, checkpoint)
        with suppress(ConfigError):  # curves are there where matplotlib is
            plot_runs([run.folder], run.folder / "curves.png")
        return run.folder


def _follow(course: _Course, learner: Learner) -> Path:
    """Take part in a run that another process leads."""
    _fit(course, learner, None, course.group.share(None))
    return course.config.out or Path("runs")


def _prepare(config: TrainConfig, group: Group) -> _Course:
    """Open and check all that a run reads."""
    store = open_store(config)
    images = find_images(store, config.images)
    schedule = plan(config, store, group.size)
    how = Preprocessing(store.spec.size, config.mean, config.std, store.spec.interpolation)
    card = StudentCard(config.student, store.class_names(), how)
    val = find_val(config, images, store)
    picks = group.share_result(lambda: select_crops(config.selection, store))
    return _Course(config, store, images, val, schedule, picks, card, group)


def _build_learner(
    course: _Course, device: torch.device, learner: Callable[..., Learner]
) -> Learner:
    """Build the student, and refuse one that cannot take the views as they will come."""
    config, card, size = course.config, course.card, course.card.preprocessing.size
    student = build_student(card)
    if config.init not in (None, "none"):
        give_weights(student, card, config.init)
    views = config.batch_size // course.group.size
    fewest = views // -(-views // views_at_a_time(config, device))
    remedy = (
        "choose another --student, a larger --batch-size or --micro-batch, or another size to label"
    )
    what = f"student {card.name}"
    if is_function(card.name):
        outputs = try_out(student.train(), fewest, size, what, "mend its function")
    else:
        outputs = check_fit(student.train(), fewest, size, what, remedy)
    if outputs != len(card.classes):
        raise ConfigError(
            f"student {card.name} has {outputs} outputs, {config.store} has {len(card.classes)} classes; "
            "its function gets the number of classes and must return a model with as many outputs"
        )
    return learner(config, card, course.store.spec.scheme, student, device, course.group)


def _fit(
    course: _Course, learner: Learner, run: Run | None, checkpoint: dict[str, object] | None
) -> None:
    """The training loop: one batch, one step, one line of the schedule after another."""
    config, schedule, group = course.config, course.schedule, course.group
    first = 0
    if checkpoint is not None:
        learner.load_state(checkpoint)
        first = int(str(checkpoint["step"]))
    size = schedule.batch_size
    with (
        remembered_signals() as stop,
        Renderer(config.workers, learner.device, config.render) as renderer,
        progress(
            None,
            "train",
            unit="view",
            total=schedule.total_steps * size,
            initial=first * size,
            disable=run is None,
        ) as bar,
    ):
        record = _Record(course, learner, run, stop)
        if checkpoint is not None and not checkpoint["evaluated"]:
            record.evaluate(first)
        batches = student_batches(
            renderer,
            course.store,
            course.images,
            schedule,
            picks=course.picks,
            first_step=first,
            rank=group.rank,
            num_ranks=group.size,
        )
        for step in range(first, schedule.total_steps):
            lr = rate_at(config, schedule, step)
            hard_weight = config.objective.hard_weight_at(step / schedule.total_steps)
            with _blamed(config, learner, step):
                waiting = time.perf_counter()
                batch = next(batches)
                waited = time.perf_counter() - waiting
                loss = learner.step(batch, step, lr=lr, hard_weight=hard_weight)
            record.note_step(_Step(step, lr, waited, batch.image_index, loss))
            bar.update(size)
            bar.set_postfix(record.shown(), refresh=False)
            record.keep(step + 1)


def rate_at(config: TrainConfig, schedule: Schedule, step: int) -> float:
    """Return the learning rate of a step of a run."""
    optim = config.optim
    return learning_rate(
        step,
        peak=optim.lr * config.batch_size / 1024,
        total_steps=schedule.total_steps,
        warmup_steps=schedule.step_at(optim.warmup_epochs),
        floor=optim.min_lr,
        constant=optim.lr_schedule == "constant",
    )


@contextmanager
def _blamed(config: TrainConfig, learner: Learner, step: int) -> Iterator[None]:
    """Say in one line what a step failed of, where its user can mend that."""
    try:
        yield
    except Exception as error:
        if of_compiler(error):
            raise FkdError(
                f"--compile: the student cannot be compiled here ({first_line(error)}); leave it out"
            ) from error
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise FkdError(
                f"out of memory on {learner.device} at step {step + 1} with batches of "
                f"{config.batch_size} views; give fewer at a time with --micro-batch "
                f"(now {views_at_a_time(config, learner.device)}), or use --amp bf16"
            ) from error
        raise


@dataclass(frozen=True)
class _Step:
    """A step that was asked of the device, whose loss has not been read yet."""

    step: int
    lr: float
    waited: float
    image_index: NDArray[np.int64]
    loss: Tensor


class _Record:
    """Reads losses a step late, so that the device never waits, and keeps what is worth keeping."""

    def __init__(
        self, course: _Course, learner: Learner, run: Run | None, stop: StopRequest
    ) -> None:
        self._course, self._learner, self._run, self._stop = course, learner, run, stop
        self._evaluate_at = evaluation_steps(course.config, course.schedule)
        self._unread: tuple[_Step, Download] | None = None
        self._stopping = 0
        self.loss = self.lr = float("nan")

    def note_step(self, step: _Step) -> None:
        """Begin to sum up the loss of a step over all processes, and read that of the step before."""
        asked = step.loss.new_full((), float(self._stop.number))
        self._course.group.sum(report := torch.stack([step.loss / self._course.group.size, asked]))
        coming = Download(report=report)
        self._read()
        self._unread = step, coming

    def _read(self) -> None:
        if self._unread is None:
            return
        (unread, coming), self._unread = self._unread, None
        self.lr, (self.loss, asked) = unread.lr, coming.wait()["report"].tolist()
        self._stopping = max(self._stopping, int(asked))
        if not abs(self.loss) < float("inf"):
            first = self._course.images.paths[int(unread.image_index[0])]
            raise FkdError(
                f"the loss is {self.loss} at step {unread.step + 1} (lr {unread.lr:g}, "
                f"{self._course.config.batch_size} views, the first of {first}); the checkpoints of "
                "earlier steps are kept; try a smaller --lr, --clip-grad 1 or, with fp16, --amp bf16"
            )
        if self._run is not None:
            images = len(unread.image_index) * self._course.group.size
            self._run.log_step(
                unread.step + 1,
                loss=self.loss,
                lr=unread.lr,
                images=images,
                waited=unread.waited,
            )

    def shown(self) -> dict[str, str]:
        """Return what stands beside the bar: the last loss that was read, its rate, and speeds."""
        if math.isnan(self.lr):
            return {}
        shown = {"loss": f"{self.loss:.3f}", "lr": f"{self.lr:.2g}"}
        speed = {} if self._run is None else self._run.speed
        if speed:
            shown["images/s"] = f"{speed['images_per_s']:.0f}"
            shown["waits"] = f"{speed['data_wait']:.0%}"
        return shown

    def keep(self, done: int) -> None:
        """Evaluate and save when it is time to; raises `Stopped` once a signal has come."""
        run, config = self._run, self._course.config
        if done in self._evaluate_at:
            self._read()
            self._save(done, evaluated=False)
            self.evaluate(done)
        elif run is not None and run.due(config.save_every):
            self._read()
            self._save(done)
        if self._stopping and done < self._course.schedule.total_steps:
            self._read()
            self._save(done)
            self._raise_stopped(done)

    def _save(self, done: int, *, evaluated: bool = True) -> None:
        if self._run is not None:
            if not self._learner.is_finite():
                raise FkdError(
                    f"the weights are no longer finite after step {done} (lr {self.lr:g}, loss "
                    f"{self.loss:g}); the checkpoints of earlier steps are kept; try a smaller --lr or "
                    "--clip-grad 1"
                )
            self._run.save(done, self._course.card, self._learner.state(), evaluated=evaluated)

    def evaluate(self, done: int) -> None:
        """Evaluate on the leading process, and keep the best."""
        run, course, learner = self._run, self._course, self._learner
        if run is None:
            return
        with run.paused():
            try:
                with self._stop.at_once(course.group.size == 1):
                    own = _evaluate(course, learner.student)
                    average = None if learner.ema is None else _evaluate(course, learner.ema.module)
            except KeyboardInterrupt:
                self._raise_stopped(done)
            if own is not None:
                run.log_evaluation(done, own, average)
                epoch, also = course.schedule.epoch_at(done), ""
                if average is not None:
                    also = f", moving average {average.top1:.2%}"
                note(f"epoch {epoch:.4g}: top-1 {own.top1:.2%}, top-5 {own.top5:.2%}{also}")
            judged = own if average is None else average
            top1 = None if judged is None else judged.top1
            run.save_if_best(done, course.card, learner.state(), top1)
            self._save(done)

    def _raise_stopped(self, done: int) -> None:
        number = self._stop.number or signal.SIGTERM
        folder = "" if self._run is None else self._run.folder
        raise Stopped(
            f"train was stopped after step {done:,} of {self._course.schedule.total_steps:,}; it goes on "
            f"when the same command is run again with --resume --out {folder}",
            number,
        )


def evaluation_steps(config: TrainConfig, schedule: Schedule) -> set[int]:
    """Return the steps after which to evaluate and save.

    They are every `eval_every` epochs, each of the last `eval_last`, and the very last step.
    """
    one_step = config.batch_size / schedule.num_images
    every = max(config.eval_every or float(config.crops_per_image), one_step)
    last, epochs = schedule.total_steps, config.epochs
    at = [n * every for n in range(1, int(epochs / every + 1e-9) + 1)]
    single = max(1.0, one_step)
    count = int(config.eval_last / single + 1e-9)
    at += [epochs - n * single for n in range(count) if epochs - n * single > 0]
    return {min(last, max(1, schedule.step_at(epoch))) for epoch in at} | {last}


def _evaluate(course: _Course, student: torch.nn.Module) -> Accuracy | None:
    if course.val is None:
        return None
    config, card = course.config, course.card
    batch_size = min(128, config.batch_size)
    return evaluate(
        student,
        card.preprocessing,
        card.classes,
        course.val,
        batch_size,
        config.workers,
        nested=True,
    )
