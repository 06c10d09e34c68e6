"""What a user may choose, as frozen dataclasses that are checked once, when they are built.

Each command has its configuration: `LabelConfig`, `TrainConfig`, `CheckConfig`, `ShowConfig` and
`PackConfig`. They are made of smaller groups, such as `ViewPolicy` and `Optim`. Nothing here
imports torch, so the command line parses and refuses at once.
"""

from fkd.config.card import CardConfig
from fkd.config.check import CheckConfig
from fkd.config.checks import (
    MAX_BATCH,
    MAX_BOUND,
    MAX_CROPS,
    MAX_WORKERS,
    as_typed,
    check_choice,
    check_count,
    check_range,
)
from fkd.config.exchange import (
    FKD_KINDS,
    FLOAT_TYPES,
    LABEL_FORMATS,
    ExportLabelsConfig,
    ImportConfig,
)
from fkd.config.groups import (
    LOSSES,
    LR_SCHEDULES,
    OPTIMIZERS,
    Augment,
    Objective,
    Optim,
    Part,
    Selection,
)
from fkd.config.label import LabelConfig
from fkd.config.loader import DatasetSettings, LoaderConfig, LoaderSettings
from fkd.config.models import (
    AMPS,
    EXPORT_FORMATS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    TEACHER_OUTPUTS,
    Amp,
    Engine,
    ExportFormat,
    NetworkInput,
    Preprocessing,
    TeacherChoice,
    TeacherOutput,
    Triple,
)
from fkd.config.pack import PACK_TO, Bound, PackConfig
from fkd.config.resume import CONFIG, folder_by_name, read_config, settings_to_resume
from fkd.config.scheme import Scheme, SchemeKind
from fkd.config.show import FIGURE_FORMATS, ShowConfig
from fkd.config.sizes import ViewSizes
from fkd.config.train import (
    BN_STATS,
    FEW_IMAGES,
    LOGS,
    NO_LOG,
    NO_VAL,
    RECIPES,
    BnStats,
    TrainConfig,
)
from fkd.config.types import as_config, as_path, fit
from fkd.config.views import (
    CROP_SHARE,
    INTERPOLATIONS,
    RENDERS,
    CenterView,
    Interpolation,
    Render,
    Size,
    ViewFormat,
    ViewPolicy,
    as_size,
    sides_of,
    size_text,
    usual_crop,
)

__all__ = [
    "AMPS",
    "BN_STATS",
    "CONFIG",
    "CROP_SHARE",
    "EXPORT_FORMATS",
    "FEW_IMAGES",
    "FIGURE_FORMATS",
    "FKD_KINDS",
    "FLOAT_TYPES",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "INTERPOLATIONS",
    "LABEL_FORMATS",
    "LOGS",
    "LOSSES",
    "LR_SCHEDULES",
    "MAX_BATCH",
    "MAX_BOUND",
    "MAX_CROPS",
    "MAX_WORKERS",
    "NO_LOG",
    "NO_VAL",
    "OPTIMIZERS",
    "PACK_TO",
    "RECIPES",
    "RENDERS",
    "TEACHER_OUTPUTS",
    "Amp",
    "Augment",
    "BnStats",
    "Bound",
    "CardConfig",
    "CenterView",
    "CheckConfig",
    "DatasetSettings",
    "Engine",
    "ExportFormat",
    "ExportLabelsConfig",
    "ImportConfig",
    "Interpolation",
    "LabelConfig",
    "LoaderConfig",
    "LoaderSettings",
    "NetworkInput",
    "Objective",
    "Optim",
    "PackConfig",
    "Part",
    "Preprocessing",
    "Render",
    "Scheme",
    "SchemeKind",
    "Selection",
    "ShowConfig",
    "Size",
    "TeacherChoice",
    "TeacherOutput",
    "TrainConfig",
    "Triple",
    "ViewFormat",
    "ViewPolicy",
    "ViewSizes",
    "as_config",
    "as_path",
    "as_size",
    "as_typed",
    "check_choice",
    "check_count",
    "check_range",
    "fit",
    "folder_by_name",
    "read_config",
    "settings_to_resume",
    "sides_of",
    "size_text",
    "usual_crop",
]
