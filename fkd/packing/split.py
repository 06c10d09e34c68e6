"""The images of a split, and the names that their copies have below the class folders."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkd.errors import ImagesError
from fkd.images import ImageList
from fkd.orders import PackConfig
from fkd.packing.smaller import name_when_smaller
from fkd.sources import dataset_root, list_images, list_val
from fkd.truth import lined_root, masked_root


@dataclass(frozen=True)
class Split:
    """The images of a split, and its `name`: "" where the data set has one alone.

    `keys` are the images' names below the split. `numbers` are the images' classes, int64 [N], as
    positions in the classes of the first split; None where images have none.
    """

    images: ImageList
    name: str
    keys: tuple[str, ...]
    numbers: NDArray[np.int64] | None

    def names(self, index: int) -> tuple[str, str]:
        """Return the name of an image's copy when it is copied as it is, and when it is made smaller."""
        return self.keys[index], name_when_smaller(self.keys[index])


def list_splits(config: PackConfig) -> list[Split]:
    """List the images of every split; refuse names that collide, and truth beside them."""
    if not config.unlabelled:
        _refuse_truth(config)
    root = dataset_root(config.images, split=config.split, unlabelled=config.unlabelled)
    images = list_images(root, unlabelled=config.unlabelled)
    val = None if config.unlabelled or _is_part(config, root) else list_val(images)
    whole = val is None and root == config.images.absolute()
    first = Split(
        images, "" if whole else "train", _below_classes(images), _numbers(images, images)
    )
    splits = [first]
    if val is not None:
        splits.append(Split(val, "val", _below_classes(val), _numbers(val, images)))
    for split in splits:
        _refuse_equal_names(split)
    return splits


def _refuse_truth(config: PackConfig) -> None:
    """Refuse images with masks or texts beside them, which copies would not fit or lack."""
    split = "train" if config.split else None
    for what, find in (("texts (labels.txt)", lined_root), ("masks", masked_root)):
        root = find(config.images, split)
        if root is not None:
            raise ImagesError(
                f"the images of {root} have {what}, and fkd pack copies images alone; label them where "
                f"they are, or copy the images without them: --unlabelled {root}"
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


def _refuse_equal_names(split: Split) -> None:
    names = set(split.keys)
    for key in split.keys:
        smaller = name_when_smaller(key)
        if smaller != key and smaller in names:
            raise ImagesError(
                f"{split.images.root}: {key}, made smaller, would be named as {smaller} is; rename one "
                "of the two"
            )
