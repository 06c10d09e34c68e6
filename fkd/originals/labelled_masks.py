"""The masks beside a store's images, as they were when these were labelled, and no others."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fkd.errors import ImagesError, StoreError
from fkd.images import ImageList
from fkd.store import LabelStore
from fkd.truth import Masks, find_masks

if TYPE_CHECKING:
    from torch import Tensor


class LabelledMasks:
    """Masks, with the hashes of their files when the images were labelled."""

    def __init__(self, masks: Masks, hashes: NDArray[np.uint64]) -> None:
        """Take masks in the numbers of a store's classes, and hashes u64 [N]."""
        self.masks, self._hashes = masks, hashes

    def decode(self, image_index: int, size: NDArray[np.int64]) -> "Tensor":
        """Return a mask, uint8 [H, W], numbers of classes and `fkd.config.IGNORED`.

        `size` is the (height, width) of its image. Raises `ImagesError` unless it is the mask that was
        there when the image was labelled.
        """
        encoded = self.masks.encoded(image_index)
        if self.masks.hash_of(encoded) != int(self._hashes[image_index]):
            raise ImagesError(
                f"{self.masks.name(image_index)} is not the mask that was there when its image was "
                "labelled (its content is another, or classes.txt gives its values other classes); "
                "restore both, or label the folder anew"
            )
        return self.masks.decode(image_index, encoded, size)


def find_labelled_masks(store: LabelStore, images: ImageList) -> LabelledMasks:
    """Find the masks of a store's images, which are listed in its order, in the numbers of its classes.

    Raises `StoreError` for a store whose images had none, and `ImagesError` where one is missing now, or
    is of classes that the store has not.
    """
    hashes = store.truth_hashes()
    if hashes is None or not store.spec.masks:
        raise StoreError(
            f"{store.path} is of images without masks, so that nothing says what is true at a pixel; "
            "label images that have masks beside them"
        )
    masks = find_masks(images)
    if masks is None:
        raise ImagesError(
            f"{images.root} has no masks, and the images of {store.path} had some; name images that have "
            "their masks beside them with --images"
        )
    return LabelledMasks(masks.matched(store.class_names(), f"those of {store.path}"), hashes)
