"""The rows of tables "mixed views" and "function matching": what a teacher is asked about mixed pixels.

All students of a table see as many crops. Stores are named after how their views are mixed; `noise` has
plain crops with the labels of other crops of the same images.
"""

from typing import Any

from fkd.config import MixPolicy

MIX_TABLES = ("mixed views", "function matching")

# How views are mixed before they are labelled, by the name of the store.
MIXES = {
    "mixup": MixPolicy(mixup=1.0),
    "cutmix": MixPolicy(cutmix=1.0),
    "mixup-cutmix": MixPolicy(mixup=1.0, cutmix=1.0),
}

Row = tuple[str, str, dict[str, Any]]  # its name, its store, and settings of `TrainConfig`

MIXED: tuple[Row, ...] = (
    ("plain crops", "full", {}),
    ("mixup of crops and labels", "full", {"mixup": 1.0}),
    ("mixup before labelling", "mixup", {}),
    ("cutmix of crops and labels", "full", {"cutmix": 1.0}),
    ("cutmix before labelling", "cutmix", {}),
    ("either of crops and labels", "full", {"mixup": 1.0, "cutmix": 1.0}),
    ("either before labelling", "mixup-cutmix", {}),
)

ONLINE = "online function matching"
MATCHING: tuple[Row, ...] = (
    ("plain supervised", "full", {"loss": [{"to": "truth", "by": "ce"}]}),
    ("fixed teacher: one label an image", "image", {}),
    ("independent noise: labels of other crops", "noise", {}),
    ("FKD, plain crops", "full", {}),
    ("mixup of crops and labels", "full", {"mixup": 1.0}),
    (ONLINE, "mixup", {}),
)
FEW_MIXES = (10, 50, 200, 1000)  # stored mixes of an image


def matching_rows(stored: int) -> tuple[Row, ...]:
    """Return the rows of table "function matching" where M mixes of an image are `stored`."""
    few = [m for m in FEW_MIXES if m < stored]
    limited: list[Row] = [(f"stored mixes, M = {m}", "mixup", {"num_crops": m}) for m in few]
    return (*MATCHING, *limited, (f"stored mixes, M = {stored}", "mixup", {}))
