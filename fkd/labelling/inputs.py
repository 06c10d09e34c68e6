"""What a labelling run is given: images and weights. What cannot be is refused at once.

This room loads no torch: a mistyped path is answered before the seconds that torch takes.
"""

from pathlib import Path

from fkd.config import LabelConfig
from fkd.images import class_folders, dataset_root
from fkd.models import require_weights
from fkd.teachers import check_teacher


def check_inputs(config: LabelConfig) -> Path:
    """Return the folder that holds the class folders; raises `FkdError` for what cannot be labelled."""
    root = dataset_root(config.images)
    class_folders(root)
    for teacher in config.teachers:
        check_teacher(teacher)
        if teacher.weights not in ("default", "none"):
            require_weights(Path(teacher.weights), f"--teacher-weights {teacher.weights}")
    return root
