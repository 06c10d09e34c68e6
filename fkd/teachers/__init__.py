"""Who labels: frozen models whose outputs meet the classes of a folder.

`load_teachers` returns an `Ensemble`. It has one `Teacher` or averages the probabilities of
several. `not_logits` and `suspicion` judge what a teacher returns, before a softmax makes labels of it.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.teachers.outputs import not_logits, suspicion
    from fkd.teachers.sources import PROGRAMS, Source, open_source
    from fkd.teachers.teacher import Ensemble, Teacher, load_teachers
else:
    __getattr__, __dir__ = names_of(
        __name__,
        outputs="not_logits suspicion",
        sources="PROGRAMS Source open_source",
        teacher="Ensemble Teacher load_teachers",
    )

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
