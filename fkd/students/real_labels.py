"""ImageNet-ReaL: all classes that people see in a validation image (Beyer et al. 2020)."""

import json
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkd.errors import ImagesError
from fkd.images import ImageList

_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})\.")
_NUM_CLASSES = 1000


def read_real(path: Path, images: ImageList, num_classes: int) -> NDArray[np.int64]:
    """Return the classes that count as right for validation images, int64 [N, A], filled up with -1.

    `path` is the published real.json: a list of class ids for each image, in the order of the image
    numbers. Raises `ImagesError` for other files, other images and students of other classes.
    """
    if num_classes != _NUM_CLASSES:
        raise ImagesError(
            f"--real {path} is of ImageNet's {_NUM_CLASSES} classes, the student has {num_classes}"
        )
    try:
        content = json.loads(path.read_text("utf-8"))
        labels = [[int(i) for i in ids] for ids in content]
        if not all(0 <= i < _NUM_CLASSES for ids in labels for i in ids):
            raise ValueError("a class id is not in 0 … 999")
    except (OSError, ValueError, TypeError) as error:
        raise ImagesError(
            f"--real {path}: not the published real.json ({error}); it is a list of lists of class ids"
        ) from error
    of_images = [labels[_number(name, len(labels), path)] for name in images.paths]
    answers = np.full((len(images), max(1, *map(len, of_images), 1)), -1)
    for row, ids in enumerate(of_images):
        answers[row, : len(ids)] = ids
    return answers


def _number(name: str, count: int, path: Path) -> int:
    """Return the number of a validation image, from 0, that its file name holds."""
    match = _NUMBER.search(name)
    number = int(match[1]) - 1 if match else -1
    if not 0 <= number < count:
        raise ImagesError(
            f"--real {path}: {name} is none of its {count:,} images; they are named "
            "ILSVRC2012_val_00000001 and so on"
        )
    return number
