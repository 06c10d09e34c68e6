"""`fkd train`: train a student on stored crops and their soft labels; no teacher is ever loaded."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from fkd.amounts import as_count, as_duration
from fkd.config import TrainConfig, as_config, size_text
from fkd.errors import ConfigError, FkdError, first_line, of_compiler
from fkd.format import to_json
from fkd.loader import (
    Schedule,
    StudentBatch,
    missing_identity,
    part_identity,
)
from fkd.machine import device_memory, make_current, remembered_signals, resolve_device
from fkd.progress import note, note_lines, progress_bar
from fkd.runs import METRICS, Run, open_run, plot_runs, read_metrics
from fkd.students import Checkpoint
from fkd.training.building import build_learner
from fkd.training.course import Course, course_batches, prepare
from fkd.training.learner import Learner
from fkd.training.micro_batches import views_at_a_time
from fkd.training.optimizer import learning_rate
from fkd.training.outcome import best_words, closing_lines
from fkd.training.processes import joined
from fkd.training.record import Record, Step
from fkd.training.report import cautions, first_step_words, opening_lines
from fkd.views import RenderPool

_LONG = 10.0  # seconds after which a first step is worth a word


def train_student(config: TrainConfig, *, learner: Callable[..., Learner] = Learner) -> Path:
    """Train a student from a label store; return the run folder with its checkpoints and metrics.

    `learner` makes the learner: a subclass of `Learner` may take its labels from elsewhere. Under
    torchrun the processes share every batch. Raises `FkdError` for bad input, before the first step
    wherever that can be known, and `Stopped` where a signal ended the run with all saved.
    """
    as_config(config, TrainConfig)
    began = time.monotonic()
    with joined(config.device) as group, ExitStack() as kept:
        course = prepare(config, group)
        torch.manual_seed(config.seed)
        device = make_current(resolve_device(group.device))
        with device_memory("choose a smaller --student"):
            learns = build_learner(course, device, learner)
        run = kept.enter_context(_opened(course)) if group.leads else None
        folder, checkpoint = group.share(None if run is None else (run.folder, run.checkpoint))
        first = 0 if checkpoint is None else checkpoint.step
        if first >= course.schedule.total_steps and checkpoint.evaluated:
            if run is not None:
                note(_finished_words(folder, first))
                run.catch_up()
            return Path(folder)
        _fit(course, learns, run, checkpoint)
        if group.leads:
            with suppress(ConfigError):  # curves are there where matplotlib is
                plot_runs([folder], folder / "curves.png")
            note_lines(closing_lines(course, folder, first, time.monotonic() - began))
        return Path(folder)


def _opened(course: Course) -> AbstractContextManager[Run]:
    about: dict[str, Any] = {
        "total_steps": course.schedule.total_steps,
        "store_spec": to_json(course.store.spec),
        "num_ranks": course.group.num_ranks,
        "chosen_images": part_identity(course.config.part, course.taken.of_part),
        "missing_images": missing_identity(course.taken.missing),
    }
    if len(course.sizes.stages) > 1:
        about["size_from_step"] = {str(step): size_text(size) for step, size in course.sizes.stages}
    return open_run(course.config, course.schedule, about)


def _finished_words(folder: Path, steps: int) -> str:
    best = best_words(read_metrics(folder)) if (folder / METRICS).is_file() else ""
    return f"{folder} is finished: {steps:,} of {as_count(steps, 'step')}" + (
        best and f", best {best}"
    )


def _fit(course: Course, learner: Learner, run: Run | None, checkpoint: Checkpoint | None) -> None:
    """The training loop: one batch, one step, one line of the schedule after another."""
    config, schedule = course.config, course.schedule
    first = 0
    if checkpoint is not None:
        learner.load(checkpoint)
        first = checkpoint.step
    with (
        remembered_signals() as stop,
        RenderPool(config.workers, learner.device, config.render) as pool,
    ):
        record = Record(course, learner, run, stop)
        if run is not None:
            run.keep_missing(course.taken.missing_keys())
            _announce(course, learner, run.folder, first, pool)
        if checkpoint is not None and not checkpoint.evaluated:
            record.evaluate(first)
        batches = course_batches(course, pool, first)
        with progress_bar(
            "train",
            unit="view",
            total=schedule.total_steps * schedule.batch_size,
            initial=first * schedule.batch_size,
            disable=run is None,
        ) as bar:
            for step in range(first, schedule.total_steps):
                # Processes hear of a signal by the sum of a step, which is read with the next.
                stop.doing = f"step {step + 1:,} and the next"
                began = time.perf_counter()
                _step(course, learner, record, step, batches)
                took = time.perf_counter() - began
                if step == first and run is not None and took > _LONG:
                    note(f"the first step took {as_duration(took)}")
                bar.update(schedule.batch_size)
                bar.set_postfix_str(record.shown(), refresh=False)
                record.keep(step + 1)


def _announce(course: Course, learner: Learner, run: Path, first: int, pool: RenderPool) -> None:
    """Say what the run works with, and that its first step may take a while."""
    note_lines(opening_lines(course, learner, run, first, on_device=pool.on_device))
    for caution in cautions(course, learner):
        note(caution)
    note(first_step_words(course))


def _step(
    course: Course, learner: Learner, record: Record, step: int, batches: Iterator[StudentBatch]
) -> None:
    """Take one step on the next batch."""
    config, schedule = course.config, course.schedule
    lr = rate_at(config, schedule, step)
    terms = config.terms_at(step / schedule.total_steps)
    with blamed(config, learner, step):
        waiting = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - waiting
        loss = learner.step(batch, step, lr=lr, terms=terms)
    record.note_step(Step(step, lr, waited, batch.decoded, loss, learner.parts))


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
def blamed(config: TrainConfig, learner: Learner, step: int) -> Iterator[None]:
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
