"""What a teacher said of a view.

`quantize` keeps a part of the teacher's probabilities, and `restore` reads it as `SoftLabels`.
`soft_cross_entropy` is a student's loss against them. Entropy, cross-entropy and divergence measure
them.
"""

from fkd.labels.loss import soft_cross_entropy
from fkd.labels.measures import cross_entropy, divergence, entropy
from fkd.labels.soft import (
    Quantized,
    SoftLabels,
    check_reading,
    disordered,
    faulty_rows,
    label_fault,
    quantize,
    restore,
    whole_labels,
)

__all__ = [
    "Quantized",
    "SoftLabels",
    "check_reading",
    "cross_entropy",
    "disordered",
    "divergence",
    "entropy",
    "faulty_rows",
    "label_fault",
    "quantize",
    "restore",
    "soft_cross_entropy",
    "whole_labels",
]
