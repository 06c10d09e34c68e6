"""The images to evaluate on: those that are named, or what the `val` beside `train` has of them."""

from pathlib import Path

from fkd.amounts import as_count
from fkd.config import NO_VAL
from fkd.errors import ImagesError
from fkd.images import ImageList
from fkd.progress import note
from fkd.sources import list_images, val_place
from fkd.students.evaluation import match_classes


def find_val(
    named: Path | str | None, images: ImageList, classes: tuple[str, ...]
) -> ImageList | None:
    """List the folder to evaluate a student of `classes` on, or return None where there is none.

    Raises `ImagesError` for a folder that was `named` and cannot be evaluated on. One that was found
    beside the training `images` stops nothing: a warning says what of it is left out.
    """
    if named == NO_VAL:
        return None
    if named is not None:
        val = list_images(Path(named), split="val")
        match_classes(val, classes)
        return val
    place = val_place(images.root)
    if place is None:
        return None
    found = _as_far_as_it_can_be(place, classes)
    if found is not None and place == images.root and found.paths == images.paths:
        return None  # one file, which holds no split to evaluate on
    return found


def _as_far_as_it_can_be(folder: Path, classes: tuple[str, ...]) -> ImageList | None:
    """List the images of the classes that are known, or return None where there are none; say so."""
    try:
        val = list_images(folder, split="val")
        known = match_classes(val, classes, others=True) >= 0
        if not known.any():
            match_classes(val, classes)
    except ImagesError as error:
        note(
            f"warning: {error}; training goes on without evaluation (--val names another folder, and "
            f"--val {NO_VAL} none)"
        )
        return None
    if known.all():
        return val
    part = val.of_classes(known)
    others = [name for name, is_known in zip(val.classes, known, strict=True) if not is_known]
    left_out = as_count(len(val) - len(part), "image")
    note(
        f"warning: {folder}: {len(others)} of {len(val.classes)} class folders are not among the store's "
        f"classes: {', '.join(others[:3])}{' …' if len(others) > 3 else ''}; top-1 is over the "
        f"{as_count(len(part), 'image')} of the rest, and {left_out} of those are left out (--val names "
        f"another folder, and --val {NO_VAL} none)"
    )
    return part
