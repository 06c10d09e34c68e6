"""Is the teacher right? Its maps of labels against the masks of their images, pixel by pixel."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fkd.config import sides_of
from fkd.format import StoreSpec
from fkd.labels import laid_out
from fkd.originals import LabelledMasks
from fkd.progress import progress
from fkd.statistics.how_far import num_finished, reached
from fkd.store import LabelStore, Slab
from fkd.truth import Confusion
from fkd.views import render_mask

_CROPS = 512  # that are compared, of images all over the store: a mask is decoded for each image
_MOST_CLASSES = 4096  # whose pairs are counted; masks tell 255 apart


@dataclass(frozen=True)
class TruthStatistics:
    """What masks say of the maps of a few crops: the first `crops_per_image` of `num_images` images.

    `confusion` counts the crops' pixels. At each, the teacher's class is the one with the largest
    probability after probabilities were resized from the grid, bilinearly.
    """

    num_images: int
    crops_per_image: int
    confusion: Confusion = field(repr=False)

    def __str__(self) -> str:
        """Say in words how often the teacher is right."""
        found = self.confusion
        return f"right at {found.pixel_accuracy:.1%} of pixels, mIoU {found.miou:.3f}"


def truth_statistics(
    store: LabelStore, masks: LabelledMasks, there: NDArray[np.bool_]
) -> TruthStatistics | None:
    """Compare the maps of a store, finished or not, with the masks of the images that are `there`.

    `there` is bool [N]. None where no labelled image is, and for more classes than masks are counted of.
    Raises `ImagesError` for a mask that is not as it was when its image was labelled.
    """
    spec = store.spec
    labelled = np.flatnonzero(reached(store) & (store.status() == 0) & there)
    if not len(labelled) or spec.num_classes > _MOST_CLASSES:
        return None
    spread = np.linspace(0, len(labelled) - 1, min(_CROPS, len(labelled))).round().astype(np.int64)
    num_crops = min(num_finished(store), max(1, _CROPS // len(spread)))
    confusion, store = Confusion(spec.num_classes), store.of_targets(())
    images = progress(labelled[spread].tolist(), "compare with masks", unit="image", delay=1)
    with torch.inference_mode():
        for image in images:
            slab = store.read_images(range(image, image + 1), num_crops)
            mask = masks.decode(image, slab.size[0])
            truth = render_mask(mask, slab.box[0], slab.flip[0], spec.size)
            for crop in range(num_crops):
                confusion.add(_said(spec, slab, crop), truth[crop : crop + 1])
    return TruthStatistics(len(spread), num_crops, confusion)


def _said(spec: StoreSpec, slab: Slab, crop: int) -> Tensor:
    """Return the likeliest class at each pixel of a crop of a slab's one image, int64 [1, H, W]."""
    kept = {n: torch.from_numpy(values[0, crop : crop + 1]) for n, values in slab.kept.items()}
    maps = laid_out(spec.labels.restore(kept).dense(spec.num_classes), spec.grid)
    pixels = functional.interpolate(maps, sides_of(spec.size), mode="bilinear", align_corners=False)
    return pixels.argmax(dim=1)
