"""What a store holds and what its labels say, in numbers.

`label_statistics` says how sure the teacher is, how often it agrees with the folders, which classes
it confuses, and what a crop's area has to do with it. `compare` says how far the labels of two stores
are apart. Both read a store in pieces, by a `Sweep`, and `sampled_agreement` reads some of them.
`info_lines` says what a store holds and what a crop takes on disk.
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
    from fkd.statistics.fidelity import fidelity_words
    from fkd.statistics.histogram import Histogram
    from fkd.statistics.how_far import num_finished, reached
    from fkd.statistics.info import (
        bad_images,
        bytes_per_crop,
        bytes_per_label,
        info_lines,
        kept_lines,
        mix_words,
        num_crops_labelled,
        num_labelled,
        per_label,
    )
    from fkd.statistics.labels import LabelStatistics, label_statistics
    from fkd.statistics.notable import NotableCrop
    from fkd.statistics.positions import PositionStatistics
    from fkd.statistics.sweep import Sweep, restored
    from fkd.statistics.targets import target_words
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
        fidelity="fidelity_words",
        histogram="Histogram",
        info=(
            "bad_images bytes_per_crop bytes_per_label info_lines kept_lines mix_words "
            "num_crops_labelled num_labelled per_label"
        ),
        labels="LabelStatistics label_statistics",
        notable="NotableCrop",
        positions="PositionStatistics",
        how_far="num_finished reached",
        sweep="Sweep restored",
        targets="target_words",
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
    "bad_images",
    "bytes_per_crop",
    "bytes_per_label",
    "compare",
    "fidelity_words",
    "info_lines",
    "kept_lines",
    "label_statistics",
    "line_statistics",
    "mix_words",
    "num_crops_labelled",
    "num_finished",
    "num_labelled",
    "per_label",
    "reached",
    "restored",
    "sampled_agreement",
    "sampled_certainty",
    "target_words",
    "truth_statistics",
    "vector_statistics",
]
