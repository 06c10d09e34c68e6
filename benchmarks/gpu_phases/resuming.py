"""Right: a run that is stopped and goes on, beside runs that are not."""

import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fkd import FkdError, train_student
from fkd.config import Weighed
from fkd.errors import Stopped
from fkd.loader import StudentBatch
from fkd.training import Learner

from .findings import Finding, Setting
from .short_runs import config, weights_apart
from .small_models import SMALL_STUDENT


def a_stop_and_a_resume(setting: Setting) -> Iterator[Finding]:
    """Stop a run by SIGTERM, go on, and compare the weights with two undisturbed runs' of resnet18.

    Where the two differ too, the device's own kernels are not deterministic; then the same once more
    with `torch.use_deterministic_algorithms`.
    """
    for deterministic in (False, True):
        if deterministic:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
            torch.use_deterministic_algorithms(True, warn_only=True)
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            one, two, resumed = _three_runs(setting)
        torch.use_deterministic_algorithms(False)
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
        refused = {str(w.message).split(" ")[0] for w in raised if "determinis" in str(w.message)}
        noise, apart = weights_apart(one, two), weights_apart(one, resumed)
        figures = {
            "undisturbed runs differ by": f"{noise:.1e}",
            "the resumed one by": f"{apart:.1e}",
            "not deterministic": ", ".join(sorted(refused)) or None,
        }
        name = "deterministic algorithms" if deterministic else "as users run it"
        yield Finding(name, figures, apart <= 2 * noise if deterministic or setting.tiny else None)
        if setting.tiny:
            return


def _three_runs(setting: Setting) -> list[Path]:
    student = SMALL_STUDENT if setting.tiny else "resnet18"
    runs = [setting.folder / f"stop-{n}" for n in range(3)]
    steps = 6 if setting.tiny else 20
    more = {"student": student, "amp": "bf16", "steps": steps, "ema": 0.9, "mixup": 0.2, "lr": 0.5}
    for run in runs[:2]:
        train_student(config(setting, run, **more))
    stopped = config(setting, runs[2], **more, resume=True)
    try:
        train_student(stopped, learner=partial(_Interrupted, steps // 2))
    except Stopped:
        train_student(stopped)
        return runs
    raise FkdError("the run was not stopped")


class _Interrupted(Learner):
    """Gets SIGTERM in a step, as from a machine that is about to go away."""

    def __init__(self, at: int, *course: Any) -> None:
        super().__init__(*course)
        self._at = at

    def step(
        self, batch: StudentBatch, step: int, *, lr: float, terms: Sequence[Weighed]
    ) -> Tensor:
        if step == self._at:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().step(batch, step, lr=lr, terms=terms)
