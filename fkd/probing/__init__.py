"""What features tell without a head: nearest neighbours, and a linear probe.

`nearest` finds the vectors most like others, `knn_top1` lets them vote on a class, and `linear_probe`
trains a linear classifier on frozen features. `spread` says whether they collapsed. All are functions of
tensors, exact and deterministic.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.probing.collapse import Spread, spread
    from fkd.probing.linear import Probe, linear_probe
    from fkd.probing.neighbours import Bank, check_k, knn_top1, nearest
else:
    __getattr__, __dir__ = names_of(
        __name__,
        linear="Probe linear_probe",
        neighbours="Bank check_k knn_top1 nearest",
        collapse="Spread spread",
    )

__all__ = ["Bank", "Probe", "Spread", "check_k", "knn_top1", "linear_probe", "nearest", "spread"]
