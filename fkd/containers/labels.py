"""The class of each image as a text, and the classes of a data set from these."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fkd.errors import ImagesError

# What people call the class of an image, in JSON and in tables.
LABEL_KEYS = ("label", "cls", "class", "class_name", "label_name", "target")

# As programs write numbers: 007 is a name.
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{,17})")


def number_classes(
    texts: Sequence[str], names: Sequence[str], where: object
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the class of each image, int64 [N], and the classes, from what is written of each image.

    Numbers are positions in `names`; where there are no names, the numbers that occur are the names, in
    their order as numbers. Other texts are names, sorted as class folders are. `where` is for messages.
    """
    found = set(texts)
    if not all(_WHOLE.fullmatch(text) for text in found):
        return name_classes(texts, where)
    numbers = np.fromiter((int(text) for text in texts), np.int64, len(texts))
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0:
        raise ImagesError(
            f"{where}: the class of {int((numbers < 0).sum()):,} images is {low}, which means none; take "
            "images without classes with --unlabelled"
        )
    if names:
        if high >= len(names):
            raise ImagesError(
                f"{where}: an image is of class {high}, and there are {len(names):,} class names; "
                "restore the file of names, or remove it"
            )
        return numbers, tuple(names)
    occurring, labels = np.unique(numbers, return_inverse=True)
    return labels.astype(np.int64), tuple(str(number) for number in occurring.tolist())


def name_classes(texts: Sequence[str], where: object) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the class of each image, int64 [N], and the classes: the texts, sorted as folders are."""
    classes = sorted(set(texts))
    if any("\0" in name for name in classes):
        raise ImagesError(f"{where}: a class has a zero byte in its name; rename it")
    position = {name: number for number, name in enumerate(classes)}
    return np.fromiter((position[text] for text in texts), np.int64, len(texts)), tuple(classes)
