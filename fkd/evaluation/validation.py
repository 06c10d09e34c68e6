"""The images to evaluate on: those that are named, or what the `val` beside `train` has of them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fkd.amounts import as_count
from fkd.config import NO_VAL
from fkd.errors import ImagesError
from fkd.evaluation.images import lined_images, masked_images, match_classes
from fkd.images import ImageList
from fkd.progress import note
from fkd.sources import evaluated_folder, list_images, list_val
from fkd.truth import Masks, Texts, lined_root, masked_root

T = TypeVar("T")


def find_val(
    named: Path | str | None, images: ImageList, classes: tuple[str, ...] | None
) -> ImageList | None:
    """List the folder to evaluate a student of `classes` on, or return None where there is none.

    It is the one that was `named`, or the `val` folder inside it. A student that has learned no classes
    is evaluated by its features, on folders of any classes (None). Raises `ImagesError` for a folder that
    was `named` and cannot be evaluated on. One that was found beside the training `images` stops nothing:
    a warning says what of it is left out.
    """
    if named == NO_VAL:
        return None
    if named is not None:
        val = list_images(evaluated_folder(Path(named), classes), split="val")
        if classes is not None:
            match_classes(val, classes)
        return val
    try:
        return _as_far_as_it_can_be(images, classes)
    except ImagesError as error:
        _warn(error)
        return None


def find_masked_val(
    named: Path | str | None, images: ImageList, classes: tuple[str, ...]
) -> tuple[ImageList, Masks] | None:
    """List the images with masks to evaluate a student of maps on, or return None where there are none.

    They are below a folder that is `named`, or in a `val` folder beside the training `images`. The masks
    are in the numbers of the student's `classes`. Raises `ImagesError` for a folder that was named and
    has none of these classes; of one that was found a warning says so.
    """
    return _find_with_truth(named, images, classes, masked_root, masked_images)


def find_lined_val(
    named: Path | str | None, images: ImageList, classes: tuple[str, ...]
) -> tuple[ImageList, Texts] | None:
    """List the images with texts to evaluate a student of lines on, as `find_masked_val` does maps'."""
    return _find_with_truth(named, images, classes, lined_root, lined_images)


def _find_with_truth(
    named: Path | str | None,
    images: ImageList,
    classes: tuple[str, ...],
    root_of: Callable[[Path, str], Path | None],
    with_truth: Callable[[Path, tuple[str, ...]], tuple[ImageList, T]],
) -> tuple[ImageList, T] | None:
    if named == NO_VAL:
        return None
    if named is not None:
        return with_truth(Path(named), classes)
    try:
        own = Path(os.path.abspath(images.root))
        root = root_of(own.parent, "val")
        if root is None or root in (own, own.parent):  # these are what there is without a `val`
            return None
        return with_truth(root, classes)
    except ImagesError as error:
        _warn(error)
        return None


def _warn(error: ImagesError) -> None:
    note(
        f"warning: {error}; training goes on without evaluation (--val names another folder, and "
        f"--val {NO_VAL} none)"
    )


def _as_far_as_it_can_be(training: ImageList, classes: tuple[str, ...] | None) -> ImageList | None:
    """List the images of the classes that are known, or return None where there are none; say so."""
    val = list_val(training)
    if val is None or classes is None:
        return val
    known = match_classes(val, classes, others=True) >= 0
    if not known.any():
        match_classes(val, classes)
    if known.all():
        return val
    part = val.of_classes(known)
    others = [name for name, is_known in zip(val.classes, known, strict=True) if not is_known]
    left_out = as_count(len(val) - len(part), "image")
    note(
        f"warning: {val.root}: {len(others)} of {len(val.classes)} class folders are not among the "
        f"store's classes: {', '.join(others[:3])}{' …' if len(others) > 3 else ''}; top-1 is over the "
        f"{as_count(len(part), 'image')} of the rest, and {left_out} of those are left out (--val names "
        f"another folder, and --val {NO_VAL} none)"
    )
    return part
