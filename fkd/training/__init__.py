"""Stage 2, from labels to a student: `fkd train`. No teacher is ever loaded.

`train_student` takes batches of crops with their labels from a store, and a `Learner` makes a step
of each. A run folder keeps the configuration, the metrics and the checkpoints. `plot_runs` draws
the curves.
"""

from fkd.training.curves import plot_runs
from fkd.training.learner import Learner, views_at_a_time
from fkd.training.metrics import read_metrics
from fkd.training.optimizer import learning_rate
from fkd.training.processes import Group
from fkd.training.train import train_student

__all__ = [
    "Group",
    "Learner",
    "learning_rate",
    "plot_runs",
    "read_metrics",
    "train_student",
    "views_at_a_time",
]
