"""Images of a folder that judge a student: of its classes, or with masks or texts of these."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkd.errors import ImagesError
from fkd.images import ImageList, match_outputs
from fkd.sources import list_images
from fkd.truth import (
    Masks,
    Texts,
    find_masks,
    find_texts,
    list_lines,
    require_lined_root,
    require_masked_root,
    require_named,
)


def match_classes(
    images: ImageList, classes: tuple[str, ...], *, others: bool = False
) -> NDArray[np.int64]:
    """Return the output, int64 [folder classes], of each class folder; refuse unknown folders.

    Folders are matched by name or, where all are numbers as in ImageNetV2, by position. With `others`,
    unknown folders are allowed and get -1.
    """
    outputs = match_outputs(images.classes, classes)
    unknown = [n for n, output in zip(images.classes, outputs, strict=True) if output is None]
    if unknown and not others:
        raise ImagesError(
            f"{images.root}: {len(unknown)} of {len(images.classes)} class folders are not among the "
            f"student's classes: {', '.join(unknown[:3])}{' …' if len(unknown) > 3 else ''}; "
            "give a folder whose class folders have the names that it was trained on"
        )
    return np.array([-1 if output is None else output for output in outputs])


def masked_images(folder: Path, classes: tuple[str, ...]) -> tuple[ImageList, Masks]:
    """List the images of a folder that have masks, or of the `val` folder inside it, and their masks.

    Masks are in the numbers of a student's `classes`. Raises `ImagesError` where there are none, of
    other classes, or of no class at any pixel.
    """
    images = list_images(require_masked_root(folder), unlabelled=True)
    found = find_masks(images)
    assert found is not None
    masks = found.matched(classes, "the student's")
    masks.require_classes()
    return images, masks


def lined_images(folder: Path, classes: tuple[str, ...]) -> tuple[ImageList, Texts]:
    """List the images of a folder that have texts, or of the `val` folder inside it, and their texts.

    Texts are in the numbers of a student's `classes`. Raises `ImagesError` where there are none, of other
    characters, or of no character.
    """
    images = list_lines(require_lined_root(folder))
    texts = find_texts(images)
    assert texts is not None
    require_named(texts)
    if not any(texts.written.values()):
        raise ImagesError(
            f"{texts.file}: no text has a character, so nothing could be judged by it; write what is on "
            "each line"
        )
    return images, texts.matched(classes, "the student's classes")
