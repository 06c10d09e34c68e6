"""Who labels: frozen models whose outputs meet the classes of a folder.

`load_teachers` returns an `Ensemble`. It has one `Teacher` or averages the probabilities of
several. `not_logits` and `suspicion` judge what a teacher returns, before a softmax makes labels of it.
"""

from fkd.teachers.outputs import not_logits, suspicion
from fkd.teachers.sources import PROGRAMS, Source, open_source
from fkd.teachers.teacher import Ensemble, Teacher, load_teachers

__all__ = [
    "PROGRAMS",
    "Ensemble",
    "Source",
    "Teacher",
    "load_teachers",
    "not_logits",
    "open_source",
    "suspicion",
]
