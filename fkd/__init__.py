"""Fast knowledge distillation: label every crop once, train students without a teacher.

    from fkd import LabelConfig, TeacherChoice, TrainConfig, label_images, train_student

    store = label_images(LabelConfig(Path("imagenet"), TeacherChoice("resnet152")))
    run = train_student(TrainConfig(student="resnet50"))

Names are loaded when they are first used, so that `fkd --help` need not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from fkd.config import (
    Augment,
    CheckConfig,
    Engine,
    LabelConfig,
    Objective,
    Optim,
    PackConfig,
    Preprocessing,
    Scheme,
    Selection,
    ShowConfig,
    TeacherChoice,
    TrainConfig,
    ViewPolicy,
)
from fkd.errors import FkdError

if TYPE_CHECKING:
    from fkd.checking import CheckReport, check_store
    from fkd.images import PackReport, pack_images
    from fkd.labelling import estimate_run, label_images
    from fkd.labels import SoftLabels, soft_cross_entropy
    from fkd.loader import StudentLoader
    from fkd.showing import show_store
    from fkd.statistics import Comparison, LabelStatistics, compare, label_statistics
    from fkd.store import LabelStore
    from fkd.students import Accuracy, evaluate_checkpoint, export_student, load_student
    from fkd.training import Learner, plot_runs, train_student

_HOME = {
    "Accuracy": "fkd.students",
    "Comparison": "fkd.statistics",
    "LabelStatistics": "fkd.statistics",
    "LabelStore": "fkd.store",
    "Learner": "fkd.training",
    "PackReport": "fkd.images",
    "SoftLabels": "fkd.labels",
    "StudentLoader": "fkd.loader",
    "CheckReport": "fkd.checking",
    "check_store": "fkd.checking",
    "compare": "fkd.statistics",
    "estimate_run": "fkd.labelling",
    "evaluate_checkpoint": "fkd.students",
    "export_student": "fkd.students",
    "label_images": "fkd.labelling",
    "label_statistics": "fkd.statistics",
    "load_student": "fkd.students",
    "pack_images": "fkd.images",
    "plot_runs": "fkd.training",
    "show_store": "fkd.showing",
    "soft_cross_entropy": "fkd.labels",
    "train_student": "fkd.training",
}

__all__ = [
    "Accuracy",
    "Augment",
    "CheckConfig",
    "CheckReport",
    "Comparison",
    "Engine",
    "FkdError",
    "LabelConfig",
    "LabelStatistics",
    "LabelStore",
    "Learner",
    "Objective",
    "Optim",
    "PackConfig",
    "PackReport",
    "Preprocessing",
    "Scheme",
    "Selection",
    "ShowConfig",
    "SoftLabels",
    "StudentLoader",
    "TeacherChoice",
    "TrainConfig",
    "ViewPolicy",
    "check_store",
    "compare",
    "estimate_run",
    "evaluate_checkpoint",
    "export_student",
    "label_images",
    "label_statistics",
    "load_student",
    "pack_images",
    "plot_runs",
    "show_store",
    "soft_cross_entropy",
    "train_student",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'fkd' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
