"""What a teacher said of a view.

`quantize` keeps a part of the teacher's probabilities, and `restore` reads it as `SoftLabels`.
`KeptLabels` says which arrays that part is, what is wrong with them, and what they can be read as.
A view has one label, or one at each position of a grid, which are rows like others (`rows_of`) and
together `GridLabels`.
`require_fit` refuses outputs that cannot belong to them. Entropy, cross-entropy and divergence measure
them, `misplaced` says how far samples are from a label, and `Fidelity` what labels give up of the
teacher's. `narrowed` keeps stored labels in another scheme, `averaged` the mean of several teachers'.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.labels.averaging import averaged, averaged_fidelity
    from fkd.labels.compared import row_fidelity
    from fkd.labels.fidelity import (
        NUM_MEASURES,
        SHARE_TEMPERATURES,
        Fidelity,
        fidelity_fault,
        mean_fidelity,
        mean_measures,
    )
    from fkd.labels.fit import require_fit
    from fkd.labels.grids import GridLabels, Labels, laid_out, rows_of
    from fkd.labels.kept import Field, KeptLabels, StoredArray
    from fkd.labels.measures import cross_entropy, divergence, entropy
    from fkd.labels.narrower_fidelity import narrowed_fidelity
    from fkd.labels.narrowing import narrowed
    from fkd.labels.quantization import Quantized, faulty_rows, quantize, restore
    from fkd.labels.readings import check_averaging, check_narrowing, check_reading, mean_scheme
    from fkd.labels.rows import Rows, as_rows
    from fkd.labels.samples import misplaced
    from fkd.labels.soft import SoftLabels
    from fkd.labels.sparse import quantize_sparse, sparse_fidelity
else:
    __getattr__, __dir__ = names_of(
        __name__,
        averaging="averaged averaged_fidelity",
        compared="row_fidelity",
        fidelity="NUM_MEASURES SHARE_TEMPERATURES Fidelity fidelity_fault mean_fidelity mean_measures",
        fit="require_fit",
        grids="GridLabels Labels laid_out rows_of",
        kept="Field KeptLabels StoredArray",
        measures="cross_entropy divergence entropy",
        narrower_fidelity="narrowed_fidelity",
        narrowing="narrowed",
        readings="check_averaging check_narrowing check_reading mean_scheme",
        quantization="Quantized faulty_rows quantize restore",
        rows="Rows as_rows",
        samples="misplaced",
        soft="SoftLabels",
        sparse="quantize_sparse sparse_fidelity",
    )

__all__ = [
    "NUM_MEASURES",
    "SHARE_TEMPERATURES",
    "Fidelity",
    "Field",
    "GridLabels",
    "KeptLabels",
    "Labels",
    "Quantized",
    "Rows",
    "SoftLabels",
    "StoredArray",
    "as_rows",
    "averaged",
    "averaged_fidelity",
    "check_averaging",
    "check_narrowing",
    "check_reading",
    "cross_entropy",
    "divergence",
    "entropy",
    "faulty_rows",
    "fidelity_fault",
    "laid_out",
    "mean_fidelity",
    "mean_measures",
    "mean_scheme",
    "misplaced",
    "narrowed",
    "narrowed_fidelity",
    "quantize",
    "quantize_sparse",
    "require_fit",
    "restore",
    "row_fidelity",
    "rows_of",
    "sparse_fidelity",
]
