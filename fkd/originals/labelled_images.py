"""The images that a store was made from, and no others: where they are, and what they held then."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fkd.amounts import as_count
from fkd.errors import ImagesError
from fkd.images import EXTENSIONS, MAX_NUM_BYTES, ImageList, Keys, changed_image, in_order_of
from fkd.sources import dataset_root, list_images, what_is_named
from fkd.store import LabelStore
from fkd.truth import lined_root, list_lines, masked_root

if TYPE_CHECKING:
    from torch import Tensor

# Images of a store's list, from each end, that are looked for where the store says they are.
_LOOKED_AT = 32


class LabelledImages:
    """The files of an image list, with the hashes of their contents when they were labelled."""

    def __init__(self, images: ImageList, hashes: NDArray[np.uint64] | None) -> None:
        """Take hashes u64 [N], or None for a store of format version 1, which has none."""
        self._images, self._hashes = images, hashes

    def decode(self, image_index: int, size: NDArray[np.uint16]) -> "Tensor":
        """Decode an image, uint8 [3, H, W]; raises `ImagesError` unless it is the one that was labelled.

        `size` is its (height, width) then.
        """
        from fkd.images import content_hash, decode

        encoded, (height, width) = self._images.read(image_index), size.tolist()
        if self._hashes is not None and content_hash(encoded) != int(self._hashes[image_index]):
            raise ImagesError(
                f"{self._images.name(image_index)} is not the file that was labelled (its content is "
                "another); restore the image or label the folder anew"
            )
        pixels = decode(self._images.name(image_index), encoded)
        if pixels.shape[-2:] != (height, width):
            raise ImagesError(
                f"{self._images.name(image_index)} has {pixels.shape[-1]}×{pixels.shape[-2]} pixels, "
                f"{width}×{height} when it was labelled; restore the image or label the folder anew"
            )
        return pixels


def image_root(store: LabelStore, folder: Path | None) -> Path:
    """Return where the images of a store are: a folder, or a file; refuse what is not there.

    The place that a store names is a hint, perhaps a stranger's: a folder is listed only where one of
    the first or last images is found in it.
    """
    if folder is not None:
        return _root_in(store, dataset_root(folder, split=False))
    hint = Path(store.spec.images_root)
    if not is_file_of_images(hint) and not _holds_some(store, hint):
        raise _not_there(store, hint)
    return hint


def _root_in(store: LabelStore, place: Path) -> Path:
    """Return where a store's images are: in the place itself, or in its folder `train`.

    Images that have masks may be in a folder `images`.
    """
    if what_is_named(place).kind != "folder":
        return place
    find = {"masks": masked_root, "texts": lined_root}.get(store.spec.truth)
    beside = None if find is None else find(place)
    if beside is not None and _holds_some(store, beside):
        return beside
    split = place / "train"
    root = split if split.is_dir() and not _holds_some(store, place) else place
    if not root.is_dir():
        raise _not_there(store, root, named=True)
    return root


def _holds_some(store: LabelStore, root: Path) -> bool:
    """Say whether one of a store's first or last images lies below a folder, at its key."""
    paths, sizes = store.image_paths(), store.num_bytes()
    ends = [
        *range(min(_LOOKED_AT, len(paths))),
        *range(max(0, len(paths) - _LOOKED_AT), len(paths)),
    ]
    return any(_is_there(os.path.join(root, paths[n]), int(sizes[n])) for n in ends)


def is_file_of_images(hint: Path) -> bool:
    """Say whether a store names archives, tables or a list that are there."""
    try:
        return what_is_named(hint).kind != "folder"
    except (ImagesError, OSError, ValueError):
        return False


def _is_there(path: str, num_bytes: int) -> bool:
    """Say whether an image of this size is at a path that a store names, without opening it."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return False
    return path.lower().endswith(EXTENSIONS) and min(status.st_size, MAX_NUM_BYTES) == num_bytes


def _not_there(store: LabelStore, root: Path, *, named: bool = False) -> ImagesError:
    if named:
        return ImagesError(f"--images {root} does not exist; name the images of {store.path}")
    return ImagesError(
        f"the images of {store.path} are not at {root}; say where they are with --images"
    )


def listed_again(store: LabelStore, root: Path) -> ImageList:
    """List what is at `root` as a store's images were listed: of a part, those that are in it.

    Its classes are those at `root`, though the store may be of some of them. Images that were added to
    the store come after those that it was begun with.
    """
    with_texts = store.spec.texts and lined_root(root, split=None) == Path(os.path.abspath(root))
    images = list_lines(root) if with_texts else list_images(root, unlabelled=store.spec.unlabelled)
    keys = store.image_paths()
    if store.spec.part:
        known = set(keys)
        images = images.take(np.flatnonzero([key in known for key in images.paths]))
    return in_order_of(keys, images)


def find_images(store: LabelStore, folder: Path | None) -> ImageList:
    """List the images of a store in `folder`, or where the store says they are; refuse others."""
    images = listed_again(store, image_root(store, folder))
    difference = changed_image(store.image_paths(), store.num_bytes(), images)
    if difference:
        raise _others(store, images, difference)
    return images


@dataclass(frozen=True)
class PresentImages:
    """The images of a store, at their index, of which some are not there.

    `there`, bool [N], says which are; the others have no bytes in `images`. `num_others` counts images of
    the folder that the store has not.
    """

    images: ImageList
    there: NDArray[np.bool_]
    num_others: int


def find_present(store: LabelStore, folder: Path | None) -> PresentImages:
    """List those images of a store that are in `folder`, or where the store says they are.

    Raises `ImagesError` where none is there, and for one of another size than when it was labelled.
    """
    return present_among(store, listed_again(store, image_root(store, folder)))


def present_among(store: LabelStore, images: ImageList) -> PresentImages:
    """Return the images of a store that are in a list; raises what `find_present` raises."""
    keys = store.image_paths()
    rows = Keys.of(images.paths).places_of(keys)
    there = rows >= 0
    difference = _resized(store, images, rows)
    if not there.any():
        difference = f"none of {as_count(len(keys), 'image')} is there"
    if difference:
        raise _others(store, images, difference)
    return PresentImages(
        images.placed(keys, rows), there, len(images) - int(np.count_nonzero(there))
    )


def _resized(store: LabelStore, images: ImageList, rows: NDArray[np.int64]) -> str | None:
    """Name the first image with a row in a list that has another size there, or return None."""
    places = np.flatnonzero(rows >= 0)
    now, then = images.num_bytes[rows[places]], store.num_bytes()[places]
    changed = np.flatnonzero(np.minimum(now, MAX_NUM_BYTES) != then)
    if not len(changed):
        return None
    first = int(changed[0])
    key = store.image_paths()[int(places[first])]
    return f"{key} has {now[first]} bytes, {then[first]} when it was labelled"


def _others(store: LabelStore, images: ImageList, difference: str) -> ImagesError:
    """Say how the images at a place differ from those of a store, and what to do."""
    rows = Keys.of(images.paths).places_of(store.image_paths())
    most = 2 * int(np.count_nonzero(rows >= 0)) > len(rows)
    without = ""
    if most and not _resized(store, images, rows):
        without = ", train on those that are there with `fkd train --drop-missing`,"
    return ImagesError(
        f"{images.root} does not hold the images that {store.path} was made from: {difference}; "
        f"give the right folder with --images{without} or label this one anew"
    )
