"""Who labels: frozen models whose outputs meet the classes of a folder.

`load_teachers` returns an `Ensemble`. It has one `Teacher` or averages the probabilities of
several. `not_logits` and `suspicion` judge what a teacher returns, before a softmax makes labels of it.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.teachers.classes import ClassMap, map_classes
    from fkd.teachers.ensemble import Ensemble, load_teachers
    from fkd.teachers.kinds import check_teacher, kind_of
    from fkd.teachers.output_names import OutputNames
    from fkd.teachers.outputs import not_logits, suspicion
    from fkd.teachers.source import Source
    from fkd.teachers.sources import open_source
    from fkd.teachers.teacher import Teacher
else:
    __getattr__, __dir__ = names_of(
        __name__,
        classes="ClassMap map_classes",
        ensemble="Ensemble load_teachers",
        kinds="check_teacher kind_of",
        output_names="OutputNames",
        outputs="not_logits suspicion",
        source="Source",
        sources="open_source",
        teacher="Teacher",
    )

__all__ = [
    "ClassMap",
    "Ensemble",
    "OutputNames",
    "Source",
    "Teacher",
    "check_teacher",
    "kind_of",
    "load_teachers",
    "map_classes",
    "not_logits",
    "open_source",
    "suspicion",
]
