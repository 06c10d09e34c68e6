"""From what a path names to the splits that are copied of it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkd.errors import ImagesError
from fkd.images import ImageList
from fkd.orders import PackConfig
from fkd.packing.split import Split
from fkd.packing.with_truth import splits_with_truth
from fkd.progress import note
from fkd.sources import dataset_root, list_images, list_val
from fkd.truth import unnamed_masks


def list_splits(config: PackConfig) -> list[Split]:
    """List the images of every split, with the masks or texts beside them; refuse names that collide."""
    with_truth = [] if config.unlabelled else splits_with_truth(config)
    splits = with_truth or _splits_of_classes(config)
    for split in splits:
        split.refuse_equal_names()
    return splits


def _splits_of_classes(config: PackConfig) -> list[Split]:
    root = dataset_root(config.images, split=config.split, unlabelled=config.unlabelled)
    if not config.unlabelled:
        _say_what_is_left_behind(root)
    images = list_images(root, unlabelled=config.unlabelled)
    val = None if config.unlabelled or _is_part(config, root) else list_val(images)
    whole = val is None and root == config.images.absolute()
    first = Split(
        images, "" if whole else "train", _below_classes(images), _numbers(images, images)
    )
    if val is None:
        return [first]
    return [first, Split(val, "val", _below_classes(val), _numbers(val, images))]


def _say_what_is_left_behind(root: Path) -> None:
    """Warn of masks that nothing names: their images are taken for images of classes."""
    masks = unnamed_masks(root)
    if masks is not None:
        note(
            f"warning: folders in {root} are taken for classes, and the masks of their images in {masks} "
            "are not copied; name the values of these in a classes.txt beside both, a line each, to copy "
            "them"
        )


def _is_part(config: PackConfig, root: Path) -> bool:
    """Say whether the user named a split itself, as `data/train` is: then no other is taken."""
    return root == config.images.absolute() and root.is_dir() and root.name == "train"


def _below_classes(images: ImageList) -> tuple[str, ...]:
    """Return the keys of images, below class folders: as they are, where their folders are classes."""
    keys = tuple(images.paths)
    if images.unlabelled or _folders_are_classes(images, keys):
        return keys
    folders = [name.replace("/", "_") for name in images.classes]
    return tuple(
        f"{folders[target]}/{key}"
        for key, target in zip(keys, images.targets.tolist(), strict=True)
    )


def _folders_are_classes(images: ImageList, keys: tuple[str, ...]) -> bool:
    """Say whether each class has a folder, and each folder one class."""
    if not all("/" in key for key in keys):
        return False
    pairs = {
        (key.split("/", 1)[0], target)
        for key, target in zip(keys, images.targets.tolist(), strict=True)
    }
    folders = {folder for folder, _ in pairs}
    return len(pairs) == len(folders) == len(np.unique(images.targets))


def _numbers(images: ImageList, first: ImageList) -> NDArray[np.int64] | None:
    """Return the class of each image as a position in the classes of the first split."""
    if images.unlabelled:
        return None
    position = {name: number for number, name in enumerate(first.classes)}
    strange = next((name for name in images.classes if name not in position), None)
    if strange is not None:
        raise ImagesError(
            f"{images.root} has a class {strange}, which {first.root} lacks; pack the two apart"
        )
    return np.array([position[name] for name in images.classes])[images.targets]
