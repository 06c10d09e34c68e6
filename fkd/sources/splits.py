"""Which folder of a data set holds the class folders: `train` and `val` may be splits, or classes."""

import os
from collections.abc import Collection
from functools import cache
from pathlib import Path

from fkd.containers import split_of
from fkd.errors import ImagesError
from fkd.progress import note_lines
from fkd.sources.kinds import folders_in, holds_images, what_is_named


def dataset_root(folder: Path, *, split: bool = True, unlabelled: bool = False) -> Path:
    """Return the folder of the class folders: `folder/train` where that is a split, else `folder`.

    Without `split` it is `folder`, whatever is in it; so it is where `unlabelled` images lie in it beside
    `train`. Raises `ImagesError` for an address or a file, and where `train` may be a split or a class.
    """
    kind = what_is_named(folder).kind
    folder = Path(os.path.abspath(folder))
    if kind != "folder" or not split or (unlabelled and holds_images(folder)):
        return folder
    root = split_folder(folder, "train", otherwise="add --no-split")
    if root == folder:
        _say_if_splits(folder)
    return root


def split_folder(folder: Path, split: str, *, otherwise: str = "rename that folder") -> Path:
    """Return `folder/split` where that is a part of a data set, `folder` where it is a class or absent.

    A class has images, as the folders beside it have; a split has folders of images, as the other
    splits have. Raises `ImagesError` where that does not tell, so that no class is left out unseen; where
    there is no other split, and folders of folders lie beside it, stderr says what is left out. Both name
    what to do `otherwise`, where it is a class.
    """
    chosen = folder / split
    if not chosen.is_dir():
        return folder
    beside = [name for name in _names_in(folder) if name != split]
    splits = [name for name in beside if split_of(name)]
    classes = [n for n in beside if n not in splits and holds_images(folder / n)]
    if not classes:
        left_out = [] if splits else [n for n in beside if _names_in(folder / n)]
        _say_what_is_left_out(chosen, left_out, otherwise)
        return chosen
    if holds_images(chosen) and not _names_in(chosen) and not splits:
        return folder
    raise ImagesError(
        f"{folder} can be read in two ways: {split} is the split to take, or a class like "
        f"{_few(classes)} beside it; name {chosen} for the split, or {otherwise} where it is a class"
    )


def evaluated_folder(folder: Path, classes: Collection[str] | None) -> Path:
    """Return `folder/val` where that is a split, else the `folder` that is named to evaluate on.

    It is the folder itself where a student's `classes` have a val among them. Raises `ImagesError` where
    `val` may be a split or a class.
    """
    return folder if "val" in (classes or ()) else split_folder(folder, "val")


def val_folder(root: Path) -> Path | None:
    """Return the `val` folder beside a `train` root, if there is one."""
    val = root.parent / "val"
    return val if root.name == "train" and val.is_dir() else None


def _say_if_splits(folder: Path) -> None:
    """Warn where all class folders have the names of splits and hold folders: they are splits."""
    names = _names_in(folder)
    if names and all(split_of(name) and _names_in(folder / name) for name in names):
        _warn(f"{', '.join(names)} of {folder} are taken for classes; if they are splits, name one")


def _say_what_is_left_out(split: Path, beside: list[str], otherwise: str) -> None:
    """Warn where a folder that is taken for a split may be a class, as those beside it may be."""
    if beside:
        _warn(
            f"{split} is taken for a split, and {_few(beside)} beside it left out; where all are "
            f"classes, {otherwise}"
        )


@cache  # a command looks at its folder before torch is loaded, and again when it lists it
def _warn(text: str) -> None:
    note_lines([("warning:", text)])


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _names_in(folder: Path) -> list[str]:
    return [inner.name for inner in folders_in(folder)]
