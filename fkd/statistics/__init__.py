"""What the labels of a store say, in numbers.

`label_statistics` says how sure the teacher is, how often it agrees with the folders, which classes
it confuses, and what a crop's area has to do with it. `compare` says how far the labels of two stores
are apart. Both read a store in pieces, by a `Sweep`, and `sampled_agreement` reads some of them.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.statistics.agreement import sampled_agreement, sampled_certainty
    from fkd.statistics.by_area import AreaStatistics
    from fkd.statistics.by_class import ClassStatistics
    from fkd.statistics.certainty import Certainty, KeptMass
    from fkd.statistics.comparison import Comparison, Divergences, compare
    from fkd.statistics.confusion import Confusion
    from fkd.statistics.histogram import Histogram
    from fkd.statistics.labels import LabelStatistics, label_statistics
    from fkd.statistics.notable import NotableCrop
    from fkd.statistics.positions import PositionStatistics
    from fkd.statistics.sweep import Sweep, restored
    from fkd.statistics.truth import (
        LineStatistics,
        TruthStatistics,
        line_statistics,
        truth_statistics,
    )
    from fkd.statistics.vectors import VectorStatistics, vector_statistics
else:
    __getattr__, __dir__ = names_of(
        __name__,
        agreement="sampled_agreement sampled_certainty",
        by_area="AreaStatistics",
        by_class="ClassStatistics",
        certainty="Certainty KeptMass",
        comparison="Comparison Divergences compare",
        confusion="Confusion",
        histogram="Histogram",
        labels="LabelStatistics label_statistics",
        notable="NotableCrop",
        positions="PositionStatistics",
        sweep="Sweep restored",
        truth="LineStatistics TruthStatistics line_statistics truth_statistics",
        vectors="VectorStatistics vector_statistics",
    )

__all__ = [
    "AreaStatistics",
    "Certainty",
    "ClassStatistics",
    "Comparison",
    "Confusion",
    "Divergences",
    "Histogram",
    "KeptMass",
    "LabelStatistics",
    "LineStatistics",
    "NotableCrop",
    "PositionStatistics",
    "Sweep",
    "TruthStatistics",
    "VectorStatistics",
    "compare",
    "label_statistics",
    "line_statistics",
    "restored",
    "sampled_agreement",
    "sampled_certainty",
    "truth_statistics",
    "vector_statistics",
]
