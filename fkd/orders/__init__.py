"""What a user may ask of the commands besides `fkd label` and `fkd train`, as frozen dataclasses.

They are checked once, when they are built, and made of what `fkd.config` has. Nothing here imports torch.
"""

from fkd.orders.card import CardConfig
from fkd.orders.check import CheckConfig
from fkd.orders.copying import AverageConfig, CopyConfig, MergeConfig
from fkd.orders.exchange import (
    FKD_KINDS,
    FLOAT_TYPES,
    LABEL_FORMATS,
    ExportLabelsConfig,
    ImportConfig,
)
from fkd.orders.pack import PACK_TO, Bound, PackConfig
from fkd.orders.show import FIGURE_FORMATS, ShowConfig

__all__ = [
    "FIGURE_FORMATS",
    "FKD_KINDS",
    "FLOAT_TYPES",
    "LABEL_FORMATS",
    "PACK_TO",
    "AverageConfig",
    "Bound",
    "CardConfig",
    "CheckConfig",
    "CopyConfig",
    "ExportLabelsConfig",
    "ImportConfig",
    "MergeConfig",
    "PackConfig",
    "ShowConfig",
]
