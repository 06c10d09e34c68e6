"""The splits of images with masks or texts beside them.

A copy has the folders of its data set, so that masks are found beside images again. Where masks lie
outside of the folder that was named, as those of `camvid/train`, the copy has `images` and `masks`.
"""

import os
from collections.abc import Callable
from pathlib import Path

from fkd.containers import split_of
from fkd.errors import ConfigError
from fkd.orders import PackConfig
from fkd.packing.split import Split
from fkd.sources import list_images
from fkd.truth import find_masks, find_texts, lined_root, list_lines, masked_root, require_named

_IMAGES, _MASKS = "images", "masks"


def splits_with_truth(config: PackConfig) -> list[Split]:
    """List the splits of images that have masks or texts; none where they have neither.

    Raises `ImagesError` where some images have masks and others have not, and for texts of images that
    are not there; `ConfigError` where the copy has no place for either.
    """
    for find, listed, what in ((lined_root, _lined, "texts"), (masked_root, _masked, "masks")):
        roots = _roots(config, find)
        if roots and config.to == "tar":
            raise ConfigError(
                f"--to tar: the images of {roots[0]} have {what}, and fkd finds {what} beside files in "
                f"folders alone; leave it out, or copy the images alone: --unlabelled {roots[0]}"
            )
        if roots:
            return [listed(config, root) for root in roots]
    return []


def _roots(config: PackConfig, find: Callable[[Path, str | None], Path | None]) -> list[Path]:
    """Return the folder of the images to train on, and that of `val` beside it."""
    root = find(config.images, "train" if config.split else None)
    if root is None:
        return []
    if root == _named(config) or not config.split:
        return [root]
    val = find(config.images, "val")
    return [root] if val is None or split_of(val.name) != "val" else [root, val]


def _lined(config: PackConfig, root: Path) -> Split:
    images = list_lines(root)
    texts = find_texts(images)
    if texts is not None:
        require_named(texts)
    return Split(images, _below(config, root), tuple(images.paths), truth=texts)


def _masked(config: PackConfig, root: Path) -> Split:
    images = list_images(root, unlabelled=True)
    masks = find_masks(images, f"copy the images alone: --unlabelled {root}")
    folder = root if masks is None else masks.folder
    name = _below(config, root)
    if folder.is_relative_to(_named(config)):
        masks_name = _below(config, folder)
    else:
        name, masks_name = os.path.join(_IMAGES, name), os.path.join(_MASKS, name)
    return Split(images, name, tuple(images.paths), truth=masks, masks_name=masks_name)


def _named(config: PackConfig) -> Path:
    return Path(os.path.abspath(config.images))


def _below(config: PackConfig, folder: Path) -> str:
    """Return where a folder lies in the one that was named, "" for that itself."""
    below = str(folder.relative_to(_named(config)))
    return "" if below == os.curdir else below
