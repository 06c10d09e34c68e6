"""Crops that are mixed with those of other images: both are rendered, and blended as for a student."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fkd.errors import ImagesError
from fkd.images import ImageList
from fkd.originals import LabelledImages
from fkd.pictures.shown import Box, Mixing, OtherImage
from fkd.store import LabelStore, StoredMixes, Toning
from fkd.views import Mixes, blend_views, empty_views, hole_pixels, render


class MixedCrops:
    """Mixes the crops of a store's images with those of others."""

    def __init__(
        self, store: LabelStore, images: ImageList, files: LabelledImages, names: Sequence[str]
    ) -> None:
        """Take the names of the classes as they are to be read."""
        self._spec, self._images, self._files, self._names = store.spec, images, files, names
        self._toning = Toning.of_store(store)
        self._mixes, self._sizes, self._targets = (
            StoredMixes.of_store(store),
            store.sizes(),
            store.targets(),
        )

    def blend(
        self, image_index: int, slots: range, views: Tensor
    ) -> tuple[list[Mixing | None], list[OtherImage]]:
        """Mix rendered crops of an image, uint8 [m, 3, S, S], in place; say how, and with which images.

        Raises `ImagesError` for an image that is not there, or not labelled yet.
        """
        if self._mixes is None:
            return [None] * len(slots), []
        which = np.array([image_index]), np.array(slots)
        if not self._mixes.known(*which).all():
            path = self._images.paths[image_index]
            raise ImagesError(f"{path} is mixed with an image that is not labelled yet")
        mixes = self._mixes.of(*which)[0]
        mixed = np.flatnonzero(mixes.mixed)
        others = []
        for index in dict.fromkeys(mixes.image[mixed].tolist()):
            rows = mixed[mixes.image[mixed] == index]
            others.append(self._blend_one(index, slots, rows, mixes, views))
        told = [self._told(mixes, row) if mixes.mixed[row] else None for row in range(len(slots))]
        return told, others

    def _blend_one(
        self, index: int, slots: range, rows: NDArray[np.int64], mixes: Mixes, views: Tensor
    ) -> OtherImage:
        """Mix some `rows` of crops with those of one other image."""
        pixels, spec = self._files.decode(index, self._sizes[index]), self._spec
        theirs, some = empty_views(len(rows), spec.size), mixes[rows]
        for box, flip, view in zip(some.box, some.flip, theirs, strict=True):
            render(pixels, box, bool(flip), view, spec.interpolation)
        self._toning.change_all(theirs, index, np.array(slots)[rows])
        blend_views([views[row] for row in rows.tolist()], list(theirs), some)
        boxes = [
            (row, _box(box), bool(flip))
            for row, box, flip in zip(rows.tolist(), some.box, some.flip, strict=True)
        ]
        title = "" if self._targets is None else self._names[int(self._targets[index])]
        image = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
        return OtherImage(image, title, self._images.paths[index], tuple(boxes))

    def _told(self, mixes: Mixes, row: int) -> Mixing:
        one = mixes[row]
        target = -1 if self._targets is None else int(self._targets[int(one.image)])
        return Mixing(float(one.own_share), target, _box(hole_pixels(one.hole, self._spec.size)))


def _box(numbers: NDArray[np.integer]) -> Box:
    top, left, height, width = (int(number) for number in numbers)
    return top, left, height, width
