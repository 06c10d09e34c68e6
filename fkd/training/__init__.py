"""Stage 2, from labels to a student: `fkd train`. No teacher is ever loaded.

`train_student` takes batches of crops with their labels from a store, and a `Learner` makes a step
of each. `rehearse` takes a few and says what the run would take.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.training.inputs import check_inputs
    from fkd.training.learner import Learner
    from fkd.training.micro_batches import views_at_a_time
    from fkd.training.optimizer import learning_rate
    from fkd.training.processes import Group
    from fkd.training.rehearsal import Rehearsal, rehearse
    from fkd.training.train import train_student
else:
    __getattr__, __dir__ = names_of(
        __name__,
        inputs="check_inputs",
        learner="Learner",
        micro_batches="views_at_a_time",
        optimizer="learning_rate",
        processes="Group",
        rehearsal="Rehearsal rehearse",
        train="train_student",
    )

__all__ = [
    "Group",
    "Learner",
    "Rehearsal",
    "check_inputs",
    "learning_rate",
    "rehearse",
    "train_student",
    "views_at_a_time",
]
