"""`fkd train --dry-run`: what a training run would take, measured on a few of its steps."""

import math
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fkd.amounts import as_bytes, as_count, as_duration, as_rate
from fkd.config import TrainConfig, as_config
from fkd.errors import ConfigError, FkdError
from fkd.evaluation import judge
from fkd.machine import device_memory, make_current, resolve_device
from fkd.originals import LabelledMasks
from fkd.progress import note
from fkd.training.building import build_learner
from fkd.training.course import Course, course_batches, prepare
from fkd.training.learner import Learner
from fkd.training.processes import Group, launched
from fkd.training.record import evaluation_steps
from fkd.training.train import blamed, rate_at
from fkd.views import RenderPool

# The first step warms up or compiles, and the batches of the next two were decoded meanwhile.
_LEFT_OUT = 3
_SECONDS, _MOST_STEPS = 10.0, 50  # of steps that are timed
_MOST_IMAGES = 256  # that are evaluated


@dataclass(frozen=True)
class Rehearsal:
    """What a run would take on this machine, with one process.

    `steps_timed` of its `total_steps` were timed: each took `step_seconds`, of which the share
    `data_wait` was spent waiting for data. Each of `num_evaluations` evaluations takes
    `evaluation_seconds`; None says that there is no folder to evaluate on. `memory_bytes` is the most
    that was in use on `device`, for a CPU by this whole process; `waiting_bytes` of it are batches that
    wait for `stagger`. A checkpoint has `checkpoint_bytes`. Where views grow over the run, `grows`, the
    steps were of the last size: time and memory are at most this. `loss` is in words what is asked of a
    student by the store, "" where the configuration says it.
    """

    total_steps: int
    batch_size: int
    num_images: int
    epochs: float
    steps_timed: int
    step_seconds: float
    data_wait: float
    num_evaluations: int
    evaluation_seconds: float | None
    device: str
    memory_bytes: int
    waiting_bytes: int
    checkpoint_bytes: int
    grows: bool
    loss: str = ""

    @property
    def views_per_s(self) -> float:
        """Views a second in the steps."""
        return self.batch_size / self.step_seconds

    @property
    def seconds(self) -> float:
        """Time of the whole run: its steps and its evaluations."""
        evaluations = self.num_evaluations * (self.evaluation_seconds or 0.0)
        return self.total_steps * self.step_seconds + evaluations

    def lines(self) -> list[tuple[str, str]]:
        """Return what `fkd train --dry-run` says: a name and a text each."""
        most = "at most " if self.grows else ""
        images = as_count(self.num_images, "image")
        timed = as_count(self.steps_timed, "step")
        parts = f"{as_duration(self.total_steps * self.step_seconds)} in steps"
        if self.evaluation_seconds is not None:
            each = as_duration(self.evaluation_seconds)
            parts += f", {as_count(self.num_evaluations, 'evaluation')} of {each}"
        memory = f"{most}{as_bytes(self.memory_bytes)} "
        memory += "in this process" if self.device == "cpu" else f"on {self.device}"
        if self.waiting_bytes:
            memory += f"; {as_bytes(self.waiting_bytes)} are batches that wait for --stagger"
        asked = (
            f"{self.loss}, since the store has no labels; `loss` and `compress` above are not read"
        )
        return [
            *([("loss", asked)] if self.loss else []),
            (
                "steps",
                f"{self.total_steps:,} of {as_count(self.batch_size, 'view')}, "
                f"{as_count(self.epochs, 'epoch')}",
            ),
            ("views", f"{self.total_steps * self.batch_size:,} of {images}"),
            (
                "speed",
                f"{as_rate(self.views_per_s, 'view')}, measured on {timed}; {self.data_wait:.0%} of the "
                "time waiting for data",
            ),
            ("time", f"{most}{as_duration(self.seconds)}: {parts}"),
            ("memory", memory),
            ("files", f"{as_bytes(self.checkpoint_bytes)} a checkpoint; a run keeps three"),
        ]


def rehearse(config: TrainConfig) -> Rehearsal:
    """Take a few steps of a run and keep none; `config.out` is not touched, nor is the store.

    Raises `FkdError` for what the run would be refused for, and under torchrun: a rehearsal is of one
    process.
    """
    as_config(config, TrainConfig)
    if launched():
        raise ConfigError("a rehearsal is of one process; call it without torchrun")
    group = Group(device=config.device)
    course = prepare(config, group)
    torch.manual_seed(config.seed)
    device = make_current(resolve_device(group.device))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with device_memory("choose a smaller --student"):
        learner = build_learner(course, device, Learner)
    note("some steps are taken to measure them; none is kept")
    timed = _timed_steps(course, learner)
    evaluation = _evaluation_seconds(course, learner)
    schedule, objective = course.schedule, course.config.objective
    bytes_each = course.sizes.most_bytes(masks=isinstance(course.truth, LabelledMasks))
    by_store = objective != config.objective
    return Rehearsal(
        total_steps=schedule.total_steps,
        batch_size=schedule.batch_size,
        num_images=schedule.num_images,
        epochs=config.epochs,
        steps_timed=timed.steps,
        step_seconds=timed.seconds / timed.steps,
        data_wait=timed.waited / timed.seconds,
        num_evaluations=len(evaluation_steps(course.config, schedule)),
        evaluation_seconds=evaluation,
        device=str(device),
        memory_bytes=_most_memory(device),
        waiting_bytes=schedule.reach * schedule.batch_size * bytes_each,
        checkpoint_bytes=_num_bytes(learner.checkpoint(0).content()),
        grows=len(course.sizes.stages) > 1,
        loss="; ".join(map(str, objective.terms)) if by_store else "",
    )


@dataclass(frozen=True)
class _Timed:
    """Some steps, the seconds that they took, and how long they waited for data."""

    steps: int = 0
    seconds: float = 0.0
    waited: float = 0.0


def _timed_steps(course: Course, learner: Learner) -> _Timed:
    """Take steps of the largest views, from where the run sees them, and time all but the first few."""
    config, schedule = course.config, course.schedule
    first = course.sizes.stages[-1][0]
    left_out = min(_LEFT_OUT, schedule.total_steps - first - 1)
    timed, began = _Timed(), time.perf_counter()
    with RenderPool(config.workers, learner.device, config.render) as pool:
        batches = course_batches(course, pool, first)
        for step in range(first, schedule.total_steps):
            waiting = time.perf_counter()
            with blamed(config, learner, step):
                batch = next(batches)
                waited = time.perf_counter() - waiting
                terms = config.terms_at(step / schedule.total_steps)
                loss = learner.step(batch, step, lr=rate_at(config, schedule, step), terms=terms)
                # A GPU is done with the step once its loss is read.
                _require_finite({"the loss": loss, **learner.parts}, step)
            if step - first < left_out:
                began = time.perf_counter()
                continue
            timed = _Timed(timed.steps + 1, time.perf_counter() - began, timed.waited + waited)
            if timed.seconds > _SECONDS or timed.steps == _MOST_STEPS:
                break
    return timed


def _require_finite(losses: Mapping[str, Tensor], step: int) -> None:
    read = [(name, loss.item()) for name, loss in losses.items()]
    broken = [f"{name} is {loss}" for name, loss in read if not math.isfinite(loss)]
    if broken:
        raise FkdError(
            f"{broken[0]} at step {step + 1}; try a smaller --lr, --clip-grad 1 or, with fp16, "
            "--amp bf16"
        )


def _evaluation_seconds(course: Course, learner: Learner) -> float | None:
    """Return the seconds of one evaluation, by some of its images; None where there is none."""
    config, val = course.config, course.val
    if val is None:
        return None
    some = val.take(np.linspace(0, len(val) - 1, min(_MOST_IMAGES, len(val))).astype(np.int64))
    truth = None if course.val_truth is None else course.val_truth.of(some)
    began = time.perf_counter()
    for network in learner.networks().values():
        batch_size = min(128, config.batch_size)
        judge(network, course.card, some, batch_size, config.workers, truth=truth, nested=True)
    return (time.perf_counter() - began) * len(val) / len(some)


def _most_memory(device: torch.device) -> int:
    """Return the most bytes that were in use: of the device, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _num_bytes(value: Any) -> int:
    """Return the bytes of all tensors in a checkpoint."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(_num_bytes, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_num_bytes, value))
    return 0
