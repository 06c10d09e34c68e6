"""Stage 1, from images to labels: `fkd label`.

`label_images` draws the views of every image, labels them with the teachers, and commits the labels
to a store. `estimate_run` measures beforehand how long that takes.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.labelling.batches import Strip, teacher_batches, views_at_a_time
    from fkd.labelling.drawing import ImageSize, Run, WantedViews
    from fkd.labelling.estimate import estimate_run
    from fkd.labelling.inputs import check_files, check_inputs
    from fkd.labelling.label import enough_memory, label_blocks, label_images, look_first
    from fkd.labelling.opening import locked, new_spec, refuse_nested, require_one_padding
    from fkd.labelling.processes import EndedElsewhere, Ranks
    from fkd.labelling.report import closing_lines, going_on_lines
else:
    __getattr__, __dir__ = names_of(
        __name__,
        batches="Strip teacher_batches views_at_a_time",
        drawing="ImageSize Run WantedViews",
        estimate="estimate_run",
        inputs="check_files check_inputs",
        label="enough_memory label_blocks label_images look_first",
        opening="locked new_spec refuse_nested require_one_padding",
        processes="EndedElsewhere Ranks",
        report="closing_lines going_on_lines",
    )

__all__ = [
    "EndedElsewhere",
    "ImageSize",
    "Ranks",
    "Run",
    "Strip",
    "WantedViews",
    "check_files",
    "check_inputs",
    "closing_lines",
    "enough_memory",
    "estimate_run",
    "going_on_lines",
    "label_blocks",
    "label_images",
    "locked",
    "look_first",
    "new_spec",
    "refuse_nested",
    "require_one_padding",
    "teacher_batches",
    "views_at_a_time",
]
