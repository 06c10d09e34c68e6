"""What a store holds and what its labels say, in numbers.

`label_statistics` says how sure the teacher is, and how often it agrees with the folders. `compare`
says how far the labels of two stores are apart. Both read a store in pieces, by a `Sweep`.
`info_lines` says what a store holds and what a crop takes on disk.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.statistics.comparison import Comparison, Divergences, compare
    from fkd.statistics.histogram import Histogram
    from fkd.statistics.info import bad_images, bytes_per_crop, info_lines, num_labelled
    from fkd.statistics.labels import (
        Certainty,
        ClassStatistics,
        KeptMass,
        LabelStatistics,
        UnsureCrop,
        label_statistics,
    )
    from fkd.statistics.sweep import Sweep, reached, restored
else:
    __getattr__, __dir__ = names_of(
        __name__,
        comparison="Comparison Divergences compare",
        histogram="Histogram",
        info="bad_images bytes_per_crop info_lines num_labelled",
        labels="Certainty ClassStatistics KeptMass LabelStatistics UnsureCrop label_statistics",
        sweep="Sweep reached restored",
    )

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
    "bad_images",
    "bytes_per_crop",
    "compare",
    "info_lines",
    "label_statistics",
    "num_labelled",
    "reached",
    "restored",
]
