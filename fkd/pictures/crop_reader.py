"""Crops of a store as a student gets them: decoded, rendered, toned and mixed, with their labels."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fkd.config import is_line
from fkd.images import ImageList
from fkd.labels import SoftLabels, entropy
from fkd.originals import LabelledImages, LabelledMasks, LabelledTexts
from fkd.pictures.mixed_crops import MixedCrops
from fkd.pictures.shown import Mixing, Pixels, ShownCrop, ShownImage, ShownLine, ShownMap
from fkd.statistics import restored
from fkd.store import LabelStore, Slab, Toning
from fkd.truth import read_off
from fkd.views import empty_views, render, render_mask

_TOP = 5


class CropReader:
    """Reads crops of images that still are as they were labelled; `names` are those of the classes.

    Maps of labels come with the `masks` of their images, where there are any, and lines with `texts`.
    """

    def __init__(
        self,
        store: LabelStore,
        images: ImageList,
        names: Sequence[str],
        masks: LabelledMasks | None,
        texts: LabelledTexts | None,
    ) -> None:
        # Vectors are drawn by their neighbours, and are not read again for each image.
        self._store, self._images, self._names = store.of_targets(()), images, names
        self._files = LabelledImages(images, store.content_hashes())
        self._toning = Toning.of_store(store)
        self._mixing = MixedCrops(store, images, self._files, names)
        self._masks, self._texts = masks, texts

    def read(self, image_index: int, slots: range) -> ShownImage:
        """Return an image with some of its crops.

        Raises `ImagesError` where it is not there or another one now, and so for one that it is mixed
        with.
        """
        spec = self._store.spec
        slab = self._store.read_images(range(image_index, image_index + 1), slots.stop)
        views = empty_views(len(slots), spec.size)
        pixels = self._files.decode(image_index, slab.size[0])
        for slot, view in zip(slots, views, strict=True):
            box, flip = slab.box[0, slot], bool(slab.flip[0, slot])
            render(pixels, box, flip, view, spec.interpolation, spec.views.fit)
        self._toning.change_all(views, image_index, np.array(slots))
        mixing, others = self._mixing.blend(image_index, slots, views)
        crops = self._crops(image_index, slab, slots, views, mixing)
        title = "" if spec.unlabelled else self._names[int(slab.target[0])]
        image = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
        return ShownImage(image, title, self._images.paths[image_index], crops, others)

    def _crops(
        self,
        image_index: int,
        slab: Slab,
        slots: range,
        views: torch.Tensor,
        mixing: Sequence[Mixing | None],
    ) -> list[ShownCrop]:
        spec = self._store.spec
        labels = restored(self._store, slab, np.zeros(1, np.int64)) if spec.labels.there else None
        truth = self._truth(image_index, slab, slots)
        shown = []
        for slot, view, mixed in zip(slots, views, mixing, strict=True):
            seen: Pixels = view.permute(1, 2, 0).numpy().copy()
            targets = {int(slab.target[0])} | ({mixed.other_target} if mixed else set())
            likely: tuple[tuple[str, float | None, bool], ...] = ()
            maps = line = None
            if labels is not None and is_line(spec.grid):
                line = self._read_off(labels, image_index, slot)
            elif labels is not None and spec.grid:
                maps = self._map(labels, slot, truth.get(slot))
            elif labels is not None:
                likely = self._likely(labels, slot, targets)
            top, left, height, width = slab.box[0, slot].tolist()
            flip = bool(slab.flip[0, slot])
            shown.append(
                ShownCrop(seen, (top, left, height, width), flip, likely, mixed, maps, line)
            )
        return shown

    def _truth(self, image_index: int, slab: Slab, slots: range) -> dict[int, NDArray[np.uint8]]:
        """Return the classes of an image's mask at the pixels of some crops, by their numbers."""
        if self._masks is None:
            return {}
        mask = self._masks.decode(image_index, slab.size[0])
        views = slab.box[0, slots.start : slots.stop], slab.flip[0, slots.start : slots.stop]
        spec = self._store.spec
        found = render_mask(mask, *views, spec.size, spec.views.fit).numpy()
        return dict(zip(slots, found, strict=True))

    def _read_off(self, labels: SoftLabels, image_index: int, slot: int) -> ShownLine:
        """Return what a crop's labels read, how sure they are, and the text of its image."""
        kept = self._store.spec.labels
        own = labels[slot * kept.num_positions : (slot + 1) * kept.num_positions]
        said, written = read_off(own.top_class.tolist(), self._store.class_names()), None
        if self._texts is not None:
            self._texts.require_same(image_index)
            written = self._texts.texts.text(image_index)
        sure = float(own.confidence.mean()) if kept.keeps_values else None
        return ShownLine(said, written, sure)

    def _map(self, labels: SoftLabels, slot: int, truth: NDArray[np.uint8] | None) -> ShownMap:
        """Return what a crop's labels say at each position, of labels of all crops of an image."""
        kept = self._store.spec.labels
        own = labels[slot * kept.num_positions : (slot + 1) * kept.num_positions]
        nats = None
        if kept.keeps_values:
            nats = entropy(own, kept.num_classes).numpy().reshape(kept.grid)
        return ShownMap(own.top_class.numpy().reshape(kept.grid), nats, truth)

    def _likely(
        self, labels: SoftLabels, row: int, targets: set[int]
    ) -> tuple[tuple[str, float | None, bool], ...]:
        """Return the head of a label: names, probabilities where there are any, and which is its own.

        Of samples it is the classes that were drawn, the most frequent first.
        """
        value = labels.value[row]
        if labels.index is None:
            top = value.topk(min(_TOP, len(value)))
            ids, probs = top.indices.tolist(), top.values.tolist()
        else:
            ids, probs = labels.index[row, :_TOP].tolist(), value[:_TOP].tolist()
        soft, first = (
            self._store.spec.labels.keeps_values,
            self._store.spec.labels.keeps_first,
        )
        return tuple(
            (self._names[n], p if soft else None, n in targets)
            for n, p in zip(ids, probs, strict=True)
            if first or p > 0
        )
