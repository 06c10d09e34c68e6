"""The batch norm that a student is judged with: its running statistics, or an estimate."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor

from fkd.amounts import as_count
from fkd.loader import sample_batches
from fkd.machine import seeded, upload
from fkd.progress import note
from fkd.students import CONVERGED, initial_share, re_estimated
from fkd.training.course import Course
from fkd.training.learner import Learner
from fkd.views import RenderPool, normalize

# Training views that statistics are estimated from, at most, and how many go through at a time.
_VIEWS, _AT_A_TIME = 1024, 64


class BatchStatistics:
    """Gives a learner's networks the batch norm that they are evaluated and kept with."""

    def __init__(self, course: Course, learner: Learner) -> None:
        self._course, self._learner = course, learner
        self._said = False

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Re-estimate, for as long as the block runs, statistics that have not converged (`--bn-stats`).

        `learner.running` holds those that are set aside. Training goes on with them as if nothing had
        been evaluated. A student that draws while it is evaluated draws the same each time.
        """
        course, learner = self._course, self._learner
        torch.manual_seed(course.config.seed)
        with seeded(np.random.SeedSequence(course.config.seed)), ExitStack() as estimates:
            for name, network in learner.networks().items():
                if self._is_due(self.initial_share(name)):
                    own = estimates.enter_context(re_estimated(network, self._pixels()))
                    if own:
                        learner.running[name] = own
                        estimates.callback(learner.running.pop, name)
            if learner.running and course.config.bn_stats == "auto" and not self._said:
                self._said = True
                note(_announcement(max(map(self.initial_share, learner.running))))
            yield

    def initial_share(self, name: str) -> float:
        """Return the share of initial values in the running statistics of a network, by its name.

        A moving average of statistics lags behind them: at least the first step's share is left in it.
        """
        share = initial_share(self._learner.networks()[name])
        average = self._learner.averages().get(name)
        return share if average is None or share == 0 else max(share, average.first_share)

    def _is_due(self, share: float) -> bool:
        choice = self._course.config.bn_stats
        return choice == "estimate" or (choice == "auto" and share > CONVERGED)

    def _pixels(self) -> Iterator[Tensor]:
        """Yield normalised views, f32 [b, 3, S, S], on the learner's device."""
        course, device = self._course, self._learner.device
        how = course.card.preprocessing
        with RenderPool(course.config.workers, device) as pool:
            format, chosen = how.view_format, course.taken.chosen
            for views in sample_batches(
                pool, course.store, course.taken.images, _VIEWS, _AT_A_TIME, format, chosen
            ):
                pixels = normalize(upload(views, device), how.mean, how.std)
                yield pixels.contiguous(memory_format=torch.channels_last)


def _announcement(share: float) -> str:
    return (
        f"batch norm's running statistics still hold {share:.0%} of their initial values: while it is "
        f"above {CONVERGED:.0%}, evaluations and their checkpoints use statistics estimated from "
        f"up to {as_count(_VIEWS, 'training view')} (--bn-stats running does without)"
    )
