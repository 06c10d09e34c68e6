"""What a student loses against soft labels, in anyone's training loop.

`soft_cross_entropy` and `kl_divergence` compare logits with soft labels, `distillation_loss` weighs that
against the class, and `DistillationLoss` is the same as a module. With a `Mix`, views that were mixed by
mixup or cutmix are compared with both of their labels. There, sparse labels stay sparse: targets of
shape [B, C] are never built. `term_losses` adds up any terms, to labels, classes and other students.
`MixedTargets` are the classes of views that were mixed before they were labelled. Logits of maps
and lines are compared position by position, with `GridLabels`, masks and texts. `vector_distance`
compares vectors and maps.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.losses.distillation import DistillationLoss, distillation_loss
    from fkd.losses.lines import text_loss
    from fkd.losses.mixing import Mix
    from fkd.losses.positions import on_one_grid
    from fkd.losses.soft import kl_divergence, soft_cross_entropy
    from fkd.losses.terms import TermLosses, term_losses
    from fkd.losses.truth import MixedTargets, Targets, as_targets
    from fkd.losses.vectors import Pairs, vector_distance
else:
    __getattr__, __dir__ = names_of(
        __name__,
        distillation="DistillationLoss distillation_loss",
        lines="text_loss",
        mixing="Mix",
        positions="on_one_grid",
        soft="kl_divergence soft_cross_entropy",
        terms="TermLosses term_losses",
        truth="MixedTargets Targets as_targets",
        vectors="Pairs vector_distance",
    )

__all__ = [
    "DistillationLoss",
    "Mix",
    "MixedTargets",
    "Pairs",
    "Targets",
    "TermLosses",
    "as_targets",
    "distillation_loss",
    "kl_divergence",
    "on_one_grid",
    "soft_cross_entropy",
    "term_losses",
    "text_loss",
    "vector_distance",
]
