"""More crops are labelled of the images that have some: are they still those that were labelled?"""

import numpy as np
from numpy.typing import NDArray

from fkd.errors import ImagesError
from fkd.images import REASONS, ImageList
from fkd.labelling.drawing import DrawnImage
from fkd.store import LabelStore


class LabelledBefore:
    """Compares images with what a store says of them, as they are read again."""

    def __init__(
        self, store: LabelStore, images: ImageList, labelled: NDArray[np.bool_] | None = None
    ) -> None:
        """Take a store that has crops of all these images, or of those `labelled`, bool [N].

        The images are in its order.
        """
        self._images, self._labelled = images, labelled
        self._status, self._sizes = store.status(), store.sizes()
        self._hashes, self._hashes_of_truth = store.content_hashes(), store.truth_hashes()
        self._truth = store.spec.truth.removesuffix("s")

    def __call__(self, image: DrawnImage) -> None:
        """Raise `ImagesError` unless an image is the one that was labelled, with the same status."""
        if self._labelled is not None and not self._labelled[image.image_index]:
            return
        then = int(self._status[image.image_index])
        now = 0 if image.error is None else REASONS.index(image.error.reason)
        what = None
        if now != then:
            was = f"was {REASONS[then]} when" if then else "had labels when"
            is_now = f"is {REASONS[now]} now" if now else "can be decoded now"
            what = f"{was} its first crops were labelled, and {is_now}"
        elif image.error is None and self._is_another(image):
            what = "is not the file whose first crops were labelled (its content is another)"
        elif self._has_other_truth(image):
            what = f"has another {self._truth} than when its first crops were labelled"
        if what:
            name = self._images.name(image.image_index)
            raise ImagesError(
                f"{name} {what}; restore it and run the same command again, or label the folder anew"
            )

    def _has_other_truth(self, image: DrawnImage) -> bool:
        then = self._hashes_of_truth
        return then is not None and int(then[image.image_index]) != image.truth_hash

    def _is_another(self, image: DrawnImage) -> bool:
        """Compare the hash of an image's content, and its size: a store of format 1 has no hashes."""
        index = image.image_index
        if self._hashes is not None and int(self._hashes[index]) != image.content_hash:
            return True
        return bool(self._sizes[index].tolist() != list(image.size))
