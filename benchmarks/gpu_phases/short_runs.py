"""Short runs of a small student on the pictures, which checks of training are made of."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fkd import Scheme, TrainConfig
from fkd.config import Weighed
from fkd.loader import StudentBatch
from fkd.students import read_checkpoint
from fkd.training import Learner

from .findings import Setting
from .small_models import SMALL_STUDENT
from .stores import labelled


def config(setting: Setting, run: Path, **more: Any) -> TrainConfig:
    """Return a short run of a small student on the pictures; `steps` of 20 views."""
    store = labelled(setting)
    steps = more.pop("steps", 3 if setting.tiny else 30)
    shutil.rmtree(run, ignore_errors=True)
    settings = {
        "store": store.path, "images": setting.pictures(), "out": run, "student": SMALL_STUDENT,
        "crops_per_image": 2, "scheme": Scheme("topk", 3), "batch_size": 20, "lr": 5.0,
        "epochs": steps * 20 / store.spec.num_images, "eval_every": 1e6,
        "device": setting.device_name,
    }  # fmt: skip
    return TrainConfig.from_recipe("fkd", **(settings | more))


class Noted(Learner):
    """Keeps the loss of every step."""

    def __init__(self, losses: list[Tensor], *course: Any) -> None:
        super().__init__(*course)
        self._losses_seen = losses

    def step(
        self, batch: StudentBatch, step: int, *, lr: float, terms: Sequence[Weighed]
    ) -> Tensor:
        """Take a step, and keep its loss."""
        loss = super().step(batch, step, lr=lr, terms=terms)
        self._losses_seen.append(loss)
        return loss


def weights_apart(one: Path, other: Path) -> float:
    """Return the largest difference of two runs' last weights."""
    mine, theirs = (read_checkpoint(run / "last.pt").student.values() for run in (one, other))
    pairs = zip(mine, theirs, strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)
