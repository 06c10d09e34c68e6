"""What a student is fed from a store.

A `Schedule` says which crops each step takes. `student_batches` reads their labels, decodes each
image once and renders the crops. `StudentLoader` does all this for a training loop of one's own.
`sample_batches` and `sample_labels` give a few crops, spread over the store.
"""

from fkd.loader.batches import StudentBatch, student_batches
from fkd.loader.labels import training_labels
from fkd.loader.loader import StudentLoader
from fkd.loader.picks import Picks
from fkd.loader.planning import open_store, plan_steps
from fkd.loader.samples import sample_batches, sample_labels
from fkd.loader.schedule import Schedule
from fkd.loader.selection import select_crops

__all__ = [
    "Picks",
    "Schedule",
    "StudentBatch",
    "StudentLoader",
    "open_store",
    "plan_steps",
    "sample_batches",
    "sample_labels",
    "select_crops",
    "student_batches",
    "training_labels",
]
