"""Stage 1, from images to labels: `fkd label`.

`label_images` draws the views of every image, labels them with the teachers, and commits the labels
to a store. `estimate_run` measures beforehand how long that takes.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.labelling.batches import teacher_batches, views_at_a_time
    from fkd.labelling.drawing import WantedViews
    from fkd.labelling.estimate import estimate_run
    from fkd.labelling.inputs import check_inputs
    from fkd.labelling.label import label_blocks, label_images
    from fkd.labelling.opening import new_spec
    from fkd.labelling.processes import EndedElsewhere, Ranks
else:
    __getattr__, __dir__ = names_of(
        __name__,
        batches="teacher_batches views_at_a_time",
        drawing="WantedViews",
        estimate="estimate_run",
        inputs="check_inputs",
        label="label_blocks label_images",
        opening="new_spec",
        processes="EndedElsewhere Ranks",
    )

__all__ = [
    "EndedElsewhere",
    "Ranks",
    "WantedViews",
    "check_inputs",
    "estimate_run",
    "label_blocks",
    "label_images",
    "new_spec",
    "teacher_batches",
    "views_at_a_time",
]
