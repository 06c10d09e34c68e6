"""Where the masks of a folder's images lie, and what their values are called.

The masks of the images below a folder have the same keys as these, but for the ending, which is .png.
They lie below the first of these folders that has one of them:

    camvid/trainannot       of camvid/train: its name and `annot`
    camvid/masks/train      likewise: its name in a folder `masks` or `annotations` beside it
    pets/masks              of pets/images: `masks` or `annotations` beside it
    ade/annotations/train   of ade/images/train: the same with a split below both

`classes.txt` names their values, a line each. It lies with the images, or where both folders lie.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from fkd.amounts import as_count
from fkd.config import IGNORED
from fkd.containers import split_of
from fkd.errors import ImagesError
from fkd.images import EXTENSIONS, ImageList
from fkd.machine import read_text
from fkd.progress import printable
from fkd.sources import folders_in, holds_images, what_is_named
from fkd.truth.masks import MAX_VALUES, Masks, mask_path

_FOLDERS = ("masks", "annotations")
_CLASSES = "classes.txt"


def masked_root(folder: Path, split: str | None = "train") -> Path | None:
    """Return the folder of the images of a `split` in a data set of masks, None where that is none.

    It is `folder/SPLIT`, `folder/images/SPLIT`, `folder/images` or `folder` itself, the first that has
    images with masks; without a `split` it is one of the last two. Where images lie in folders of theirs,
    which may be classes, a classes.txt must name the masks' values.
    """
    if what_is_named(folder).kind != "folder":
        return None
    folder = Path(os.path.abspath(folder))
    images = folder / "images"
    places = [*_splits(folder, split), *_splits(images, split), images, folder]
    return next((root for root in places if _is_masked(root)), None)


def require_masked_root(folder: Path, split: str = "val") -> Path:
    """Return what `masked_root` does, or raise `ImagesError` where no images have masks."""
    root = masked_root(folder, split)
    if root is None:
        raise ImagesError(
            f"{folder} has no images with masks, by which a student of maps is judged; name a folder "
            f"with masks beside it, as {split} with {split}annot"
        )
    return root


def find_masks(
    images: ImageList, otherwise: str = "name the images that have one with --subset FILE"
) -> Masks | None:
    """Find the masks of the images of a folder; None where there are none.

    Images of archives, tables and lists have none. Raises `ImagesError` where some images have masks and
    others have not, which says what to do `otherwise` than to add them, and for a classes.txt that cannot
    be read. An image that is not there needs none.
    """
    if what_is_named(images.root).kind != "folder":
        return None
    for folder in _places(images.root):
        without = [
            row
            for row, key in enumerate(images.paths)
            if images.num_bytes[row] and not os.path.isfile(mask_path(folder, key))
        ]
        if len(without) == len(images):
            continue
        if without:
            first = mask_path(folder, images.paths[without[0]])
            raise ImagesError(
                f"{printable(first)} is missing: {as_count(len(without), 'image')} of {len(images):,} in "
                f"{images.root} have no mask, and the others have; add theirs, or {otherwise}"
            )
        return _named(Masks(folder, images.paths), images.root)
    return None


def unnamed_masks(root: Path) -> Path | None:
    """Return where the masks of a folder's images lie, of images in folders without a classes.txt.

    These are no truth, since their folders may be classes. Returns None where there are none.
    """
    if what_is_named(root).kind != "folder" or holds_images(root):
        return None
    unnamed = (folder for folder in _places(root) if _classes_file(root, folder) is None)
    return next((folder for folder in unnamed if _has_masks_of(root, folder)), None)


def _splits(folder: Path, split: str | None) -> list[Path]:
    """Return the folders of a split in a folder: first the one of that very name."""
    if split is None:
        return []
    found = [inner for inner in folders_in(folder) if split_of(inner.name) == split]
    return sorted(found, key=lambda inner: inner.name != split)


def _places(root: Path) -> list[Path]:
    """Return the folders that are there of those that may have the masks of the images below `root`."""
    root = Path(os.path.abspath(root))
    if root == root.parent:
        return []
    places = [root.with_name(f"{root.name}annot")]
    places += [root.parent / name / root.name for name in _FOLDERS]
    if root.name == "images":
        places += [root.with_name(name) for name in _FOLDERS]
    if root.parent.name == "images":
        places += [root.parent.with_name(name) / root.name for name in _FOLDERS]
    return [place for place in places if place.is_dir()]


def _is_masked(root: Path) -> bool:
    """Say whether images below a folder have masks, and are no classes by their folders."""
    named = (f for f in _places(root) if holds_images(root) or _classes_file(root, f) is not None)
    return any(_has_masks_of(root, folder) for folder in named)


def _has_masks_of(root: Path, folder: Path) -> bool:
    return any(os.path.isfile(mask_path(folder, key)) for key in _keys_below(root))


def _keys_below(root: Path) -> Iterator[str]:
    for place, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not _leads_back(Path(place, name))]
        for name in names:
            if name.lower().endswith(EXTENSIONS):
                yield os.path.relpath(os.path.join(place, name), root)


def _leads_back(folder: Path) -> bool:
    """Say whether a folder is a link to one that it lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _classes_file(root: Path, folder: Path) -> Path | None:
    """Return the classes.txt of images below `root` with masks below `folder`; None where none is."""
    together = os.path.commonpath([os.path.abspath(root), folder])
    files = (Path(root, _CLASSES), Path(together, _CLASSES))
    return next((file for file in files if file.is_file()), None)


def _named(masks: Masks, root: Path) -> Masks:
    """Return masks whose values are what classes.txt calls them, where there is one.

    A line that is empty or begins with - is of a value that counts for nothing. Values of one name are
    one class.
    """
    file = _classes_file(root, masks.folder)
    if file is None:
        return masks
    text = read_text(file, str(file), "name a class a line in it, in UTF-8", ImagesError)
    lines = [line.strip() for line in text.splitlines()]
    if len(lines) > MAX_VALUES or any(lines[IGNORED:]):
        raise ImagesError(
            f"{file} has {len(lines):,} lines, and masks of 8 bits have the values 0 to {IGNORED - 1}, a "
            f"line each, and {IGNORED} for what counts for nothing; leave the others out"
        )
    names = [None if not line or line.startswith("-") else line for line in lines]
    classes = tuple(dict.fromkeys(name for name in names if name is not None))
    if not classes:
        raise ImagesError(f"{file} names no class; name one a line, the first of value 0")
    numbers = tuple(IGNORED if name is None else classes.index(name) for name in names)
    return Masks(masks.folder, masks.keys, classes, numbers, file)
