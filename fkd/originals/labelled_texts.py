"""The texts of a store's images, as they were when these were labelled, and no others."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fkd.config import is_line
from fkd.errors import ImagesError, StoreError
from fkd.images import ImageList
from fkd.originals.labelled_masks import LabelledMasks, find_labelled_masks
from fkd.store import LabelStore
from fkd.truth import Texts, find_texts

if TYPE_CHECKING:
    from torch import Tensor


class LabelledTexts:
    """Texts, with their hashes when the images were labelled."""

    def __init__(self, texts: Texts, hashes: NDArray[np.uint64]) -> None:
        """Take texts in the numbers of a store's classes, and hashes u64 [N]."""
        self.texts, self._hashes = texts, hashes

    def require_same(self, image_index: int) -> None:
        """Raise `ImagesError` unless a text is the one that was there when its image was labelled."""
        if self.texts.content_hash(image_index) != int(self._hashes[image_index]):
            raise ImagesError(
                f"{self.texts.name(image_index)} has another text than when it was labelled; restore it "
                "or label the folder anew"
            )

    def rows(self, images: Iterable[int]) -> "Tensor":
        """Return texts as `Texts.rows` does; raises `ImagesError` for one that was another then."""
        numbers = [int(number) for number in images]
        for number in numbers:
            self.require_same(number)
        return self.texts.rows(numbers)


# What a store's images had beside them, as it was when they were labelled.
LabelledTruth = LabelledMasks | LabelledTexts


def find_labelled_truth(store: LabelStore, images: ImageList) -> LabelledTruth:
    """Find what lies beside a store's images, which are listed in its order, of its classes.

    Lines have texts, all others masks. Raises what the functions for each of these raise.
    """
    find = find_labelled_texts if is_line(store.spec.grid) else find_labelled_masks
    return find(store, images)


def find_labelled_texts(store: LabelStore, images: ImageList) -> LabelledTexts:
    """Find the texts of a store's images, which are listed in its order, in the numbers of its classes.

    Raises `StoreError` for a store whose images had none, and `ImagesError` where one has none now.
    """
    hashes = store.truth_hashes()
    if hashes is None or not store.spec.texts:
        raise StoreError(
            f"{store.path} is of images without texts, so that nothing says what is written on them; "
            "label images whose folder has a labels.txt"
        )
    texts = find_texts(images)
    if texts is None:
        raise ImagesError(
            f"{images.root} has no labels.txt, and the images of {store.path} had texts; name images "
            "that have theirs with --images"
        )
    return LabelledTexts(texts.matched(store.class_names(), f"classes of {store.path}"), hashes)
