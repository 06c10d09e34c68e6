"""Fast knowledge distillation: label every crop once, train students without a teacher.

    from fkd import LabelConfig, TeacherChoice, TrainConfig, label_images, train_student

    store = label_images(LabelConfig(Path("imagenet"), TeacherChoice("resnet152")))
    run = train_student(TrainConfig(student="resnet50"))

Names are loaded when they are first used, so that `fkd --help` need not load torch.
"""

from typing import TYPE_CHECKING

from fkd.config import (
    AddTeacherConfig,
    Augment,
    Engine,
    LabelConfig,
    MixPolicy,
    Objective,
    Optim,
    Part,
    Preprocessing,
    Scheme,
    Selection,
    StudentChoice,
    Target,
    TeacherChoice,
    Term,
    TonePolicy,
    TrainConfig,
    VectorScheme,
    ViewPolicy,
)
from fkd.errors import FkdError
from fkd.faces import names_of
from fkd.orders import (
    AverageConfig,
    CardConfig,
    CheckConfig,
    CopyConfig,
    ExportLabelsConfig,
    ImportConfig,
    MergeConfig,
    PackConfig,
    ShowConfig,
)

if TYPE_CHECKING:
    from fkd.checking import CheckReport, check_store
    from fkd.copying import average_stores, copy_store, merge_stores
    from fkd.evaluation import (
        Accuracy,
        FeatureAccuracy,
        LineAccuracy,
        MapAccuracy,
        evaluate_checkpoint,
        evaluate_features,
    )
    from fkd.exchanging import ExportReport, export_labels, import_labels
    from fkd.feeding import CropDataset, StudentLoader, ViewBatch
    from fkd.joining import add_teacher
    from fkd.labelling import estimate_run, label_images
    from fkd.labels import Fidelity, GridLabels, SoftLabels
    from fkd.losses import soft_cross_entropy
    from fkd.packing import PackReport, pack_images
    from fkd.publishing import store_card
    from fkd.runs import plot_runs
    from fkd.showing import show_store
    from fkd.statistics import Comparison, LabelStatistics, compare, label_statistics
    from fkd.store import LabelStore
    from fkd.students import export_student, load_student
    from fkd.training import Learner, Rehearsal, rehearse, train_student
    from fkd.version import __version__ as __version__
else:
    __getattr__, __dir__ = names_of(
        __name__,
        checking="CheckReport check_store",
        copying="average_stores copy_store merge_stores",
        exchanging="ExportReport export_labels import_labels",
        feeding="CropDataset StudentLoader ViewBatch",
        joining="add_teacher",
        labelling="estimate_run label_images",
        labels="Fidelity GridLabels SoftLabels",
        losses="soft_cross_entropy",
        showing="show_store",
        statistics="Comparison LabelStatistics compare label_statistics",
        store="LabelStore",
        evaluation=(
            "Accuracy FeatureAccuracy LineAccuracy MapAccuracy evaluate_checkpoint evaluate_features"
        ),
        students="export_student load_student",
        packing="PackReport pack_images",
        publishing="store_card",
        runs="plot_runs",
        training="Learner Rehearsal rehearse train_student",
        version="__version__",
    )

__all__ = [
    "Accuracy",
    "AddTeacherConfig",
    "Augment",
    "AverageConfig",
    "CardConfig",
    "CheckConfig",
    "CheckReport",
    "Comparison",
    "CopyConfig",
    "CropDataset",
    "Engine",
    "ExportLabelsConfig",
    "ExportReport",
    "FeatureAccuracy",
    "Fidelity",
    "FkdError",
    "GridLabels",
    "ImportConfig",
    "LabelConfig",
    "LabelStatistics",
    "LabelStore",
    "Learner",
    "LineAccuracy",
    "MapAccuracy",
    "MergeConfig",
    "MixPolicy",
    "Objective",
    "Optim",
    "PackConfig",
    "PackReport",
    "Part",
    "Preprocessing",
    "Rehearsal",
    "Scheme",
    "Selection",
    "ShowConfig",
    "SoftLabels",
    "StudentChoice",
    "StudentLoader",
    "Target",
    "TeacherChoice",
    "Term",
    "TonePolicy",
    "TrainConfig",
    "VectorScheme",
    "ViewBatch",
    "ViewPolicy",
    "add_teacher",
    "average_stores",
    "check_store",
    "compare",
    "copy_store",
    "estimate_run",
    "evaluate_checkpoint",
    "evaluate_features",
    "export_labels",
    "export_student",
    "import_labels",
    "label_images",
    "label_statistics",
    "load_student",
    "merge_stores",
    "pack_images",
    "plot_runs",
    "rehearse",
    "show_store",
    "soft_cross_entropy",
    "store_card",
    "train_student",
]
