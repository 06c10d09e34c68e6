"""Stage 1, from images to labels: `fkd label`.

`label_images` draws the views of every image, labels them with the teachers, and commits the labels
to a store. `estimate_run` measures beforehand how long that takes.
"""

from fkd.labelling.batches import teacher_batches, views_at_a_time
from fkd.labelling.estimate import estimate_run
from fkd.labelling.label import label_blocks, label_images
from fkd.labelling.opening import new_spec
from fkd.labelling.processes import EndedElsewhere, Ranks

__all__ = [
    "EndedElsewhere",
    "Ranks",
    "estimate_run",
    "label_blocks",
    "label_images",
    "new_spec",
    "teacher_batches",
    "views_at_a_time",
]
