"""What the labels of a store say, in numbers.

`label_statistics` says how sure the teacher is, and how often it agrees with the folders. `compare`
says how far the labels of two stores are apart. Both read a store in pieces, by a `Sweep`.
"""

from fkd.statistics.comparison import Comparison, Divergences, compare
from fkd.statistics.histogram import Histogram
from fkd.statistics.labels import (
    Certainty,
    ClassStatistics,
    KeptMass,
    LabelStatistics,
    UnsureCrop,
    label_statistics,
)
from fkd.statistics.sweep import Sweep, reached, restored

__all__ = [
    "Certainty",
    "ClassStatistics",
    "Comparison",
    "Divergences",
    "Histogram",
    "KeptMass",
    "LabelStatistics",
    "Sweep",
    "UnsureCrop",
    "compare",
    "label_statistics",
    "reached",
    "restored",
]
