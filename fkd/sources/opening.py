"""From what a path names to the list of its images."""

import os
from collections.abc import Callable
from pathlib import Path

from fkd.archives import CLASS_FILES, index_archives
from fkd.containers import ContainedImages, Index, NoSplitError, kept_index, of_split, split_in
from fkd.errors import ImagesError, first_line
from fkd.images import ImageList
from fkd.sources.flat import find_mapping, is_flat, list_flat, read_mapping
from fkd.sources.folder import (
    class_folders,
    list_any_depth,
    list_folder,
    require_folder,
    say_left_out,
)
from fkd.sources.kinds import Named, what_is_named
from fkd.sources.listed import list_listed
from fkd.sources.splits import val_folder
from fkd.tables import files_of_saved, index_arrow, index_parquet


def list_images(root: Path, *, split: str = "train", unlabelled: bool = False) -> ImageList:
    """List the images of a folder, of archives, tables or a list, in the order of their keys.

    Of files that hold several splits, `split` is taken. With `unlabelled`, images at any depth are taken,
    and have no classes. What archives and tables hold is remembered (`fkd.containers.kept_index`). Raises
    `ImagesError` for what cannot be listed, in whole.
    """
    named = what_is_named(root)
    match named.kind:
        case "folder" if unlabelled:
            return list_any_depth(root)
        case "folder":
            return list_flat(root) if is_flat(root) else list_folder(root)
        case "list":
            return list_listed(root, split=split, unlabelled=unlabelled)
        case _:
            return _list_contained(root, named, split, unlabelled)


def require_images(root: Path, *, unlabelled: bool = False) -> None:
    """Refuse at once what holds no images, as far as names show it; raises `ImagesError`."""
    named = what_is_named(root)
    if named.kind != "folder":
        return
    if unlabelled:
        require_folder(root, "images")
    elif not is_flat(root):
        class_folders(root)


def count_classes(root: Path, split: str = "train") -> int:
    """Return how many classes the images at a place have."""
    named = what_is_named(root)
    if named.kind == "folder" and not is_flat(root):
        return len(class_folders(root))
    return len(list_images(root, split=split).classes)


def val_place(root: Path) -> Path | None:
    """Return where the images to evaluate on are, for training images at `root`, None for nowhere known.

    They are in a `val` folder beside a `train` folder, in a file whose name says so beside one that says
    train, or in the same folder of files, or perhaps in the same file, which is then returned.
    """
    named = what_is_named(root)
    if named.kind == "folder":
        return val_folder(root)
    if any(split_in(file) == "val" for file in named.files):
        return root
    if split_in(root.name) == "train":
        beside = _or_none(root.parent)
        found = [p for p in beside if p.suffix == root.suffix and split_in(p.name) == "val"]
        if len(found) > 1 and all(path.is_file() for path in found):
            return root.parent  # they are shards, which belong together
        return found[0] if found else None
    return root if named.kind in ("archives", "list") and named.files == ("",) else None


def list_val(images: ImageList) -> ImageList | None:
    """List the images to evaluate on that belong to training images, None where there are none."""
    place = val_place(images.root)
    if place is None:
        return None
    if place == images.root and what_is_named(place).files == ("",):
        # One file that holds one split alone gives the same images for any.
        whole = list_images(place, unlabelled=images.unlabelled)
        try:
            val = list_images(place, split="val", unlabelled=images.unlabelled)
        except NoSplitError:
            return None
        if val.paths == whole.paths:
            return None
    return list_images(place, split="val")


def _or_none(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _list_contained(given: Path, named: Named, split: str, unlabelled: bool) -> ImageList:
    """List the images in archives or tables by an index, which is kept."""
    root = named.root
    if (root / "state.json").is_file() and named.kind == "arrow":
        files = files_of_saved(root)
    else:
        files = of_split(named.files, split, root)
    settings: list[object] = [named.kind, split, unlabelled, *_beside(named)]
    try:
        index = kept_index(root, files, settings, _maker(named, files, split, unlabelled))
    except OSError as error:
        raise ImagesError(f"{root} cannot be read ({first_line(error)})") from error
    say_left_out(root, index.left_out)
    return ImageList(
        given,
        index.keys,
        index.labels,
        index.num_bytes,
        index.classes,
        ContainedImages.of(root, index),
        index.left_out,
    )


def _maker(named: Named, files: list[str], split: str, unlabelled: bool) -> Callable[[], Index]:
    """Return what makes the index of a container."""
    root = named.root

    def make() -> Index:
        if named.kind == "parquet":
            return index_parquet(root, files, unlabelled=unlabelled)
        if named.kind == "arrow":
            return index_arrow(root, files, unlabelled=unlabelled)
        of_train = any(split_in(file or root.name) == "train" for file in files)
        mapping = None if of_train else find_mapping(_folder_of(named))
        listed = None if mapping is None else lambda: read_mapping(mapping)
        return index_archives(root, files, split=split, unlabelled=unlabelled, listed=listed)

    return make


def _folder_of(named: Named) -> Path:
    return named.root if named.root.is_dir() else named.root.parent


def _beside(named: Named) -> list[object]:
    """Return what the index depends on beside the container: files that name classes, as they are now."""
    folder, stamps = _folder_of(named), []
    for file in (find_mapping(folder), *(folder / name for name in CLASS_FILES)):
        if file is not None and file.is_file():
            status = os.stat(file)
            stamps.append((str(file), status.st_size, status.st_mtime_ns))
    return list(stamps)
