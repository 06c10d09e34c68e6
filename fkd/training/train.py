"""`fkd train`: train a student on stored crops and their soft labels; no teacher is ever loaded."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from fkd.config import TrainConfig
from fkd.errors import ConfigError, FkdError, first_line, of_compiler
from fkd.loader import Schedule, student_batches
from fkd.machine import device_memory, make_current, remembered_signals, resolve_device
from fkd.progress import progress_bar
from fkd.store import to_json
from fkd.students import Checkpoint
from fkd.training.course import Course, build_learner, prepare
from fkd.training.curves import plot_runs
from fkd.training.learner import Learner, views_at_a_time
from fkd.training.optimizer import learning_rate
from fkd.training.processes import joined
from fkd.training.record import Record, Step
from fkd.training.run import Run
from fkd.training.run_folder import open_run
from fkd.views import RenderPool


def train_student(config: TrainConfig, *, learner: Callable[..., Learner] = Learner) -> Path:
    """Train a student from a label store; return the run folder with its checkpoints and metrics.

    `learner` makes the learner: a subclass of `Learner` may take its labels from elsewhere. Under
    torchrun the processes share every batch. Raises `FkdError` for bad input, before the first step
    wherever that can be known, and `Stopped` where a signal ended the run with all saved.
    """
    with joined(config.device) as group:
        course = prepare(config, group)
        torch.manual_seed(config.seed)
        device = make_current(resolve_device(group.device))
        with device_memory("choose a smaller --student"):
            learns = build_learner(course, device, learner)
        if not group.leads:
            return _follow(course, learns)
        about = {
            "total_steps": course.schedule.total_steps,
            "store_spec": to_json(course.store.spec),
            "num_ranks": group.num_ranks,
        }
        with open_run(config, course.schedule, about) as run:
            checkpoint = group.share(run.checkpoint)
            _fit(course, learns, run, checkpoint)
        with suppress(ConfigError):  # curves are there where matplotlib is
            plot_runs([run.folder], run.folder / "curves.png")
        return run.folder


def _follow(course: Course, learner: Learner) -> Path:
    """Take part in a run that another process leads."""
    _fit(course, learner, None, course.group.share(None))
    return course.config.out or Path("runs")


def _fit(course: Course, learner: Learner, run: Run | None, checkpoint: Checkpoint | None) -> None:
    """The training loop: one batch, one step, one line of the schedule after another."""
    config, schedule, group = course.config, course.schedule, course.group
    first = 0
    if checkpoint is not None:
        learner.load(checkpoint)
        first = checkpoint.step
    size = schedule.batch_size
    with (
        remembered_signals() as stop,
        RenderPool(config.workers, learner.device, config.render) as pool,
        progress_bar(
            "train",
            unit="view",
            total=schedule.total_steps * size,
            initial=first * size,
            disable=run is None,
        ) as bar,
    ):
        record = Record(course, learner, run, stop)
        if checkpoint is not None and not checkpoint.evaluated:
            record.evaluate(first)
        batches = student_batches(
            pool,
            course.store,
            course.images,
            schedule,
            picks=course.picks,
            first_step=first,
            rank=group.rank,
            num_ranks=group.num_ranks,
        )
        for step in range(first, schedule.total_steps):
            lr = rate_at(config, schedule, step)
            hard_weight = config.objective.hard_weight_at(step / schedule.total_steps)
            with _blamed(config, learner, step):
                waiting = time.perf_counter()
                batch = next(batches)
                waited = time.perf_counter() - waiting
                loss = learner.step(batch, step, lr=lr, hard_weight=hard_weight)
            record.note_step(Step(step, lr, waited, batch.image_index, loss))
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
