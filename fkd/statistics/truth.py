"""Is the teacher right? Its maps of labels against masks, pixel by pixel, and its lines against texts."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fkd.config import sides_of
from fkd.format import StoreSpec
from fkd.info import num_finished, reached
from fkd.labels import laid_out
from fkd.originals import LabelledMasks, LabelledTexts
from fkd.progress import progress
from fkd.statistics.sweep import restored
from fkd.store import LabelStore, Slab
from fkd.truth import Confusion, ReadLines, aligned, read_off
from fkd.views import render_mask

_CROPS = 512  # that are compared, of images all over the store: a mask is decoded for each image
_LINES = 2048  # crops of lines, likewise; their texts are in memory
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


@dataclass(frozen=True)
class LineStatistics:
    """What texts say of the lines of a few crops: the first `crops_per_image` of `num_images` images.

    `read` counts these crops, each read by the likeliest class of its frames. `confused` are the pairs of
    characters that differ where the two are aligned, (read, written) with "" for none, and how often,
    the most frequent first.
    """

    num_images: int
    crops_per_image: int
    read: ReadLines
    confused: tuple[tuple[tuple[str, str], int], ...] = field(repr=False)

    def __str__(self) -> str:
        """Say in words how often the teacher is right."""
        return str(self.read)


def truth_statistics(
    store: LabelStore, masks: LabelledMasks, there: NDArray[np.bool_]
) -> TruthStatistics | None:
    """Compare the maps of a store, finished or not, with the masks of the images that are `there`.

    `there` is bool [N]. None where no labelled image is, and for more classes than masks are counted of.
    Raises `ImagesError` for a mask that is not as it was when its image was labelled.
    """
    spec = store.spec
    spread, num_crops = _spread(store, there, _CROPS)
    if not spread or spec.num_classes > _MOST_CLASSES:
        return None
    confusion, store = Confusion(spec.num_classes), store.of_targets(())
    with torch.inference_mode():
        for image in progress(spread, "compare with masks", unit="image", delay=1):
            slab = store.read_images(range(image, image + 1), num_crops)
            mask = masks.decode(image, slab.size[0])
            views = slab.box[0], slab.flip[0]
            truth = render_mask(mask, *views, spec.size, spec.views.fit)
            for crop in range(num_crops):
                confusion.add(_said(spec, slab, crop), truth[crop : crop + 1])
    return TruthStatistics(len(spread), num_crops, confusion)


def line_statistics(
    store: LabelStore, texts: LabelledTexts, there: NDArray[np.bool_]
) -> LineStatistics | None:
    """Compare the lines of a store, finished or not, with the texts of the images that are `there`.

    `there` is bool [N]. None where no labelled image is. Raises `ImagesError` for a text that is not as
    it was when its image was labelled.
    """
    spread, num_crops = _spread(store, there, _LINES)
    if not spread:
        return None
    names, store = store.class_names(), store.of_targets(())
    read, confused = ReadLines(), Counter[tuple[str, str]]()
    for image in progress(spread, "compare with texts", unit="image", delay=1):
        texts.require_same(image)
        written = texts.texts.text(image)
        labels = restored(
            store, store.read_images(range(image, image + 1), num_crops), np.zeros(1, int)
        )
        for frames in labels.top_class.reshape(num_crops, -1).tolist():
            said = read_off(frames, names)
            read.add(said, written)
            if said != written:
                confused.update(pair for pair in aligned(said, written) if pair[0] != pair[1])
    return LineStatistics(len(spread), num_crops, read, tuple(confused.most_common()))


def _spread(store: LabelStore, there: NDArray[np.bool_], most: int) -> tuple[list[int], int]:
    """Return labelled images that are `there`, all over the store, and how many crops of each.

    They are `most` crops at most.
    """
    labelled = np.flatnonzero(reached(store) & (store.status() == 0) & there)
    spread = np.linspace(0, len(labelled) - 1, min(most, len(labelled))).round().astype(np.int64)
    num_crops = min(num_finished(store), max(1, most // max(1, len(spread))))
    return labelled[spread].tolist(), num_crops


def _said(spec: StoreSpec, slab: Slab, crop: int) -> Tensor:
    """Return the likeliest class at each pixel of a crop of a slab's one image, int64 [1, H, W]."""
    kept = {n: torch.from_numpy(values[0, crop : crop + 1]) for n, values in slab.kept.items()}
    maps = laid_out(spec.labels.restore(kept).dense(spec.num_classes), spec.grid)
    pixels = functional.interpolate(maps, sides_of(spec.size), mode="bilinear", align_corners=False)
    return pixels.argmax(dim=1)
