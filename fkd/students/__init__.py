"""Who learns: a network, its checkpoints, and its export to other programs.

A `StudentCard` says what a student is. `build_student` makes one, `load_student` reads one from a
checkpoint, and `export_student` writes it for other programs. `re_estimated` gives it statistics of
batch norm that belong to its weights. How right it is, is asked in `fkd.evaluation`.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.students.average import MovingAverage
    from fkd.students.batch_norm import CONVERGED, initial_share, re_estimated
    from fkd.students.checkpoints import (
        Checkpoint,
        announce_student,
        load_student,
        newest_checkpoint,
        read_checkpoint,
        save_checkpoint,
        save_last,
    )
    from fkd.students.export import export_student
    from fkd.students.files import BEST, checkpoint_file
    from fkd.students.head import feature_layer
    from fkd.students.sidecar import EXPORT_KEY, EXPORT_PROPERTY, Sidecar, read_sidecar
    from fkd.students.student import StudentCard, build_student, give_weights
    from fkd.students.views import require_size, seen_otherwise, usual_view, whole_view
    from fkd.students.weights import Weights
else:
    __getattr__, __dir__ = names_of(
        __name__,
        average="MovingAverage",
        batch_norm="CONVERGED initial_share re_estimated",
        checkpoints=(
            "Checkpoint announce_student load_student newest_checkpoint read_checkpoint "
            "save_checkpoint save_last"
        ),
        export="export_student",
        files="BEST checkpoint_file",
        head="feature_layer",
        sidecar="EXPORT_KEY EXPORT_PROPERTY Sidecar read_sidecar",
        student="StudentCard build_student give_weights",
        views="require_size seen_otherwise usual_view whole_view",
        weights="Weights",
    )

__all__ = [
    "BEST",
    "CONVERGED",
    "EXPORT_KEY",
    "EXPORT_PROPERTY",
    "Checkpoint",
    "MovingAverage",
    "Sidecar",
    "StudentCard",
    "Weights",
    "announce_student",
    "build_student",
    "checkpoint_file",
    "export_student",
    "feature_layer",
    "give_weights",
    "initial_share",
    "load_student",
    "newest_checkpoint",
    "re_estimated",
    "read_checkpoint",
    "read_sidecar",
    "require_size",
    "save_checkpoint",
    "save_last",
    "seen_otherwise",
    "usual_view",
    "whole_view",
]
