"""What a labelling run is given: images and weights. What cannot be is refused at once.

This room loads no torch: a mistyped path is answered before the seconds that torch takes.
"""

from pathlib import Path

from fkd.config import LabelConfig
from fkd.models import require_weights
from fkd.sources import class_folders, dataset_root


def check_inputs(config: LabelConfig) -> Path:
    """Return the folder that holds the class folders; raises `FkdError` for what cannot be labelled."""
    root = dataset_root(config.images)
    class_folders(root)
    for teacher in config.teachers:
        if teacher.weights not in ("default", "none"):
            require_weights(Path(teacher.weights), f"--teacher-weights {teacher.weights}")
    return root
