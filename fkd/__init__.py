"""Fast knowledge distillation: label every crop once, train students without a teacher.

    from fkd import LabelConfig, TeacherChoice, TrainConfig, label_images, train_student

    store = label_images(LabelConfig(Path("imagenet"), TeacherChoice("resnet152")))
    run = train_student(TrainConfig(student="resnet50"))

Names are loaded when they are first used, so that `fkd --help` need not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from fkd.config import (
    Engine,
    LabelConfig,
    PackConfig,
    Preprocessing,
    Scheme,
    TeacherChoice,
    ViewPolicy,
)
from fkd.errors import FkdError
from fkd.recipes import Augment, Objective, Optim, TrainConfig

if TYPE_CHECKING:
    from fkd.checkpoints import load_student
    from fkd.dryrun import estimate_run
    from fkd.evaluate import Accuracy, evaluate_checkpoint
    from fkd.label import label_images
    from fkd.pack import PackReport, pack_images
    from fkd.store import LabelStore
    from fkd.train import train_student

_HOME = {
    "Accuracy": "fkd.evaluate",
    "LabelStore": "fkd.store",
    "PackReport": "fkd.pack",
    "estimate_run": "fkd.dryrun",
    "evaluate_checkpoint": "fkd.evaluate",
    "label_images": "fkd.label",
    "load_student": "fkd.checkpoints",
    "pack_images": "fkd.pack",
    "train_student": "fkd.train",
}

__all__ = [
    "Accuracy",
    "Augment",
    "Engine",
    "FkdError",
    "LabelConfig",
    "LabelStore",
    "Objective",
    "Optim",
    "PackConfig",
    "PackReport",
    "Preprocessing",
    "Scheme",
    "TeacherChoice",
    "TrainConfig",
    "ViewPolicy",
    "estimate_run",
    "evaluate_checkpoint",
    "label_images",
    "load_student",
    "pack_images",
    "train_student",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'fkd' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
