"""What a labelling run is given: images and weights. What cannot be is refused at once.

This room loads no torch: a mistyped path is answered before the seconds that torch takes.
"""

from pathlib import Path

from fkd.config import LabelConfig
from fkd.models import require_weights
from fkd.sources import dataset_root, require_images
from fkd.teachers import check_teacher


def check_inputs(config: LabelConfig) -> Path:
    """Return where the images are; raises `FkdError` for what cannot be labelled."""
    root = dataset_root(config.images)
    require_images(root)
    for teacher in config.teachers:
        check_teacher(teacher)
        if teacher.weights not in ("default", "none"):
            require_weights(Path(teacher.weights), f"--teacher-weights {teacher.weights}")
    return root
