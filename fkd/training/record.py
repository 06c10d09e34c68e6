"""What a run keeps: losses that are read a step late, evaluations and checkpoints in time."""

import math
import shlex
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fkd.amounts import as_rate
from fkd.config import TrainConfig
from fkd.errors import FkdError, Stopped
from fkd.evaluation import Judgement, judge
from fkd.images import ImageList
from fkd.loader import Schedule
from fkd.machine import Download, StopRequest
from fkd.progress import note
from fkd.runs import Run
from fkd.training.batch_statistics import BatchStatistics
from fkd.training.course import Course
from fkd.training.learner import Learner
from fkd.training.network import Network
from fkd.training.suspicion import Suspicion


@dataclass(frozen=True)
class Step:
    """A step that was asked of the device, whose loss and its `parts`, by name, are still to be read."""

    step: int
    lr: float
    waited: float
    decoded: NDArray[np.int64]
    loss: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class Record:
    """Reads losses a step late, so that the device never waits, and keeps what is worth keeping."""

    def __init__(
        self, course: Course, learner: Learner, run: Run | None, stop: StopRequest
    ) -> None:
        self._course, self._learner, self._run, self._stop = course, learner, run, stop
        self._evaluate_at = evaluation_steps(course.config, course.schedule)
        self._statistics = BatchStatistics(course, learner)
        self._suspicion = Suspicion(course, learner, self._statistics)
        self._unread: tuple[Step, Download] | None = None
        self._asked = self._stopping = 0
        self.loss = self.lr = float("nan")

    def note_step(self, step: Step) -> None:
        """Begin to sum up the loss of a step over all processes, and read that of the step before."""
        asked, num_ranks = (
            step.loss.new_full((), float(self._stop.number)),
            self._course.group.num_ranks,
        )
        parts = [part / num_ranks for part in step.parts.values()]
        self._course.group.sum(report := torch.stack([step.loss / num_ranks, asked, *parts]))
        coming = Download(report=report)
        self._read()
        self._stopping = self._asked  # here, for the leading process alone reads early to save
        self._unread = step, coming

    def _read(self) -> None:
        if self._unread is None:
            return
        (unread, coming), self._unread = self._unread, None
        self.lr, (self.loss, asked, *read) = unread.lr, coming.wait()["report"].tolist()
        self._asked = max(self._asked, int(asked))
        parts = dict(zip(unread.parts, read, strict=True))
        losses = {"the loss": self.loss, **parts}
        broken = [f"{n} is {loss}" for n, loss in losses.items() if not abs(loss) < float("inf")]
        if broken:
            first = self._course.taken.images.paths[int(unread.decoded[0])]
            raise FkdError(
                f"{broken[0]} at step {unread.step + 1} (lr {unread.lr:g}, "
                f"{self._course.config.batch_size} views, the first of {first}); the checkpoints of "
                "earlier steps are kept; try a smaller --lr, --clip-grad 1 or, with fp16, --amp bf16"
            )
        if self._run is not None:
            images = len(unread.decoded) * self._course.group.num_ranks
            self._run.log_step(
                unread.step + 1,
                loss=self.loss,
                lr=unread.lr,
                images=images,
                waited=unread.waited,
                parts=parts,
            )

    def shown(self) -> str:
        """Say what stands beside the bar: the last loss that was read, its rate, and speeds."""
        if math.isnan(self.lr):
            return ""
        said = f"loss {self.loss:.3f}, lr {self.lr:.2g}"
        speed = {} if self._run is None else self._run.speed
        if speed:
            rate = as_rate(speed["images_per_s"], "image")
            said += f", {rate}, {speed['data_wait']:.0%} of the time waiting"
        return said

    def keep(self, done: int) -> None:
        """Evaluate and save when it is time to; raises `Stopped` once a signal has come."""
        run, config = self._run, self._course.config
        if done in self._evaluate_at:
            self._read()
            self._stopping = self._asked
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
            self._run.save(replace(self._learner.checkpoint(done), evaluated=evaluated))

    def evaluate(self, done: int) -> None:
        """Evaluate on the leading process, and keep the best."""
        run, course, learner = self._run, self._course, self._learner
        if run is None:
            return
        self._stop.doing = f"the evaluation after step {done:,}"
        with run.paused(), ExitStack() as statistics:
            try:
                with self._stop.at_once(course.group.num_ranks == 1):
                    statistics.enter_context(self._statistics.ready())
                    evaluated = {} if course.val is None else _evaluate(course, course.val, learner)
            except KeyboardInterrupt:
                self._raise_stopped(done)
            score = None
            if evaluated:
                run.log_evaluation(done, evaluated)
                epoch = course.schedule.epoch_at(done)
                for words in _words(learner, evaluated):
                    note(f"epoch {epoch:.4g}: {words}")
                own, average = evaluated[""], evaluated.get("ema_")
                judged = average or own
                self._suspicion.look_at(judged, run.loss)
                score = judged.score
            run.save_if_best(learner.checkpoint(done), score)
            self._save(done)

    def _raise_stopped(self, done: int) -> None:
        number = self._stop.number or signal.SIGTERM
        folder = "" if self._run is None else shlex.quote(str(self._run.folder))
        raise Stopped(
            f"train was stopped after step {done:,} of {self._course.schedule.total_steps:,}; it goes on "
            f"with: fkd train --resume --out {folder}",
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


def _evaluate(course: Course, val: ImageList, learner: Learner) -> dict[str, Judgement]:
    """Evaluate all students and their averages, by what stands before their names in metrics."""
    config, batch_size = course.config, min(128, course.config.batch_size)

    def judgement(network: Network, model: nn.Module) -> Judgement:
        return judge(
            model, network.card, val, batch_size, config.workers,
            truth=course.val_truth, nested=True,
        )  # fmt: skip

    evaluated = {}
    for network in learner.students.values():
        evaluated[network.prefix] = judgement(network, network.student)
        if network.ema is not None:
            evaluated[f"{network.prefix}ema_"] = judgement(network, network.ema.module)
    return evaluated


def _words(learner: Learner, evaluated: Mapping[str, Judgement]) -> Iterator[str]:
    """Say how right each student is, with its name where there are several."""
    for name, network in learner.students.items():
        own, average = evaluated[network.prefix], evaluated.get(f"{network.prefix}ema_")
        also = "" if average is None else f", moving average {average.score:.2%}"
        whose = f"{name}, " if len(learner.students) > 1 else ""
        yield f"{whose}{own}{also}"
