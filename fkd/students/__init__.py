"""Who learns: a network, its checkpoints, its accuracy, and its export to other programs.

A `StudentCard` says what a student is. `build_student` makes one, `load_student` reads one from a
checkpoint, `evaluate` measures its answers and `evaluate_features` what goes into its head, `judge` asks
for the one that it learned, and `export_student` writes it for other programs. `re_estimated`
gives it statistics of batch norm that belong to its weights.
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
    from fkd.students.evaluation import (
        Accuracy,
        evaluate,
        evaluate_checkpoint,
        lined_images,
        masked_images,
        match_classes,
    )
    from fkd.students.export import export_student
    from fkd.students.feature_evaluation import FeatureAccuracy, evaluate_features
    from fkd.students.features import (
        Features,
        Judgement,
        NeighbourAccuracy,
        gather_features,
        judge,
    )
    from fkd.students.files import BEST, checkpoint_file
    from fkd.students.line_evaluation import LineAccuracy, evaluate_lines
    from fkd.students.map_evaluation import MapAccuracy, evaluate_maps
    from fkd.students.sidecar import EXPORT_KEY, EXPORT_PROPERTY, Sidecar, read_sidecar
    from fkd.students.student import StudentCard, build_student, give_weights
    from fkd.students.validation import find_lined_val, find_masked_val, find_val
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
        evaluation="Accuracy evaluate evaluate_checkpoint lined_images masked_images match_classes",
        export="export_student",
        feature_evaluation="FeatureAccuracy evaluate_features",
        features="Features Judgement NeighbourAccuracy gather_features judge",
        files="BEST checkpoint_file",
        line_evaluation="LineAccuracy evaluate_lines",
        map_evaluation="MapAccuracy evaluate_maps",
        sidecar="EXPORT_KEY EXPORT_PROPERTY Sidecar read_sidecar",
        student="StudentCard build_student give_weights",
        validation="find_lined_val find_masked_val find_val",
        views="require_size seen_otherwise usual_view whole_view",
        weights="Weights",
    )

__all__ = [
    "BEST",
    "CONVERGED",
    "EXPORT_KEY",
    "EXPORT_PROPERTY",
    "Accuracy",
    "Checkpoint",
    "FeatureAccuracy",
    "Features",
    "Judgement",
    "LineAccuracy",
    "MapAccuracy",
    "MovingAverage",
    "NeighbourAccuracy",
    "Sidecar",
    "StudentCard",
    "Weights",
    "announce_student",
    "build_student",
    "checkpoint_file",
    "evaluate",
    "evaluate_checkpoint",
    "evaluate_features",
    "evaluate_lines",
    "evaluate_maps",
    "export_student",
    "find_lined_val",
    "find_masked_val",
    "find_val",
    "gather_features",
    "give_weights",
    "initial_share",
    "judge",
    "lined_images",
    "load_student",
    "masked_images",
    "match_classes",
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
