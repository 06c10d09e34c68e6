"""Crops that deserve a look: the teacher is unsure of them, or sure of another class than the folder's.

A list has one crop an image, or one odd image would fill it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fkd.statistics.measured import MeasuredCrops

_SCATTER = 2_654_435_761  # 2^32 over the golden ratio: neighbours end up far from each other


@dataclass(frozen=True)
class NotableCrop:
    """A crop: index of its image, its number, the class with the highest probability, that, and nats.

    Of a map it is the class of most positions, and means over them.
    """

    image_index: int
    crop: int
    top_class: int
    top_probability: float
    entropy: float


class Shortlist:
    """The `most` crops that come first by their keys, over all pieces so far."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[tuple[tuple[float, ...], NotableCrop]] = []

    @property
    def crops(self) -> tuple[NotableCrop, ...]:
        """The crops, the first one first."""
        return tuple(crop for _, crop in self._kept)

    def add(
        self,
        crops: MeasuredCrops,
        chosen: NDArray[np.int64],
        keys: tuple[NDArray[np.float64], ...],
    ) -> None:
        """Offer the crops `chosen`, int64 [k], of a piece; the lowest `keys`, f64 [k], come first."""
        if crops.top_probability is None or crops.entropy is None:
            return
        each = len(crops.top_class) // len(crops.image_index)
        for n in np.lexsort(keys[::-1])[: self._most].tolist():
            row = int(chosen[n])
            crop = NotableCrop(
                int(crops.image_index[row // each]),
                row % each,
                int(crops.top_class[row]),
                crops.top_probability[row].item(),
                crops.entropy[row].item(),
            )
            self._kept.append((tuple(float(key[n]) for key in keys), crop))
        self._kept.sort(key=lambda entry: (*entry[0], entry[1].image_index))
        del self._kept[self._most :]


def least_sure(crops: MeasuredCrops, shortlist: Shortlist) -> None:
    """Offer of each image the crop with the lowest top probability."""
    if crops.top_probability is None:
        return
    top = crops.top_probability.view(len(crops.image_index), -1)
    lowest, crop = top.min(dim=1)
    rows = np.arange(len(top)) * top.shape[1] + crop.numpy()
    shortlist.add(crops, rows, (lowest.double().numpy(),))


def sure_of_another(crops: MeasuredCrops, shortlist: Shortlist) -> None:
    """Offer of each image the crop with the highest probability of a class that is not the image's.

    Codes are coarse near 1, so many crops share the highest. Of those the ones with the lowest entropy
    come first, and then such whose images are scattered over all classes.
    """
    if crops.top_probability is None or crops.entropy is None or crops.agrees is None:
        return
    others = crops.top_probability.masked_fill(crops.agrees, -1).view(len(crops.image_index), -1)
    highest, crop = others.max(dim=1)
    images = np.flatnonzero(highest.numpy() >= 0)
    rows = images * others.shape[1] + crop.numpy()[images]
    scattered = crops.image_index[images] * _SCATTER % 2**32
    keys = (-highest.double().numpy()[images], crops.entropy.double().numpy()[rows])
    shortlist.add(crops, rows, (*keys, scattered.astype(np.float64)))
