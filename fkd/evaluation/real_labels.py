"""ImageNet-ReaL: all classes that people see in a validation image (Beyer et al. 2020)."""

import json
import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkd.errors import ImagesError, first_line
from fkd.images import ImageList

_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})\.")
_NUM_CLASSES = 1000


def read_real(path: Path, images: ImageList, num_classes: int) -> NDArray[np.int64]:
    """Return the classes that count as right for validation images, int64 [N, A], filled up with -1.

    `path` is the published real.json: a list of class ids for each image, in the order of the image
    numbers. Raises `ImagesError` for other files, other images and students of other classes.
    """
    labels = _read(path)
    if num_classes != _NUM_CLASSES:
        raise ImagesError(
            f"--real {path} is of ImageNet's {_NUM_CLASSES:,} classes, the student has {num_classes:,}; "
            "leave it out"
        )
    of_images = [labels[_number(name, len(labels), path)] for name in images.paths]
    answers = np.full((len(images), max(1, *map(len, of_images), 1)), -1)
    for row, ids in enumerate(of_images):
        answers[row, : len(ids)] = ids
    return answers


def _read(path: Path) -> list[list[int]]:
    """Read lists of class ids, one for each image of ImageNet's validation set."""
    if not os.path.isfile(path):
        raise ImagesError(f"--real {path}: no such file; give the published real.json")
    try:
        labels = json.loads(path.read_text("utf-8"))
        right = isinstance(labels, list) and all(_is_label(ids) for ids in labels)
    except OSError as error:
        raise ImagesError(f"--real {path} cannot be read ({first_line(error)})") from error
    except (ValueError, RecursionError):  # no text, no JSON, or lists in lists without end
        right = False
    if not right:
        raise ImagesError(
            f"--real {path}: not the published real.json, a list with a list of class ids (0 to "
            f"{_NUM_CLASSES - 1}) for each image"
        )
    return labels  # type: ignore[no-any-return]


def _is_label(ids: object) -> bool:
    return isinstance(ids, list) and all(type(i) is int and 0 <= i < _NUM_CLASSES for i in ids)


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
