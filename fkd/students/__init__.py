"""Who learns: a network, its checkpoints, its accuracy, and its export to other programs.

A `StudentCard` says what a student is. `build_student` makes one, `load_student` reads one from a
checkpoint, `evaluate` measures it, and `export_student` writes it for other programs. `re_estimated`
gives it statistics of batch norm that belong to its weights.
"""

from fkd.students.average import MovingAverage
from fkd.students.batch_norm import CONVERGED, initial_share, re_estimated
from fkd.students.checkpoints import (
    BEST,
    Checkpoint,
    load_student,
    newest_checkpoint,
    read_checkpoint,
    save_checkpoint,
    save_last,
)
from fkd.students.evaluation import Accuracy, evaluate, evaluate_checkpoint, match_classes
from fkd.students.export import export_student
from fkd.students.student import StudentCard, build_student, give_weights
from fkd.students.validation import find_val

__all__ = [
    "BEST",
    "CONVERGED",
    "Accuracy",
    "Checkpoint",
    "MovingAverage",
    "StudentCard",
    "build_student",
    "evaluate",
    "evaluate_checkpoint",
    "export_student",
    "find_val",
    "give_weights",
    "initial_share",
    "load_student",
    "match_classes",
    "newest_checkpoint",
    "re_estimated",
    "read_checkpoint",
    "save_checkpoint",
    "save_last",
]
