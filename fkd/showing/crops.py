"""Crops of a store as pictures: decoded, rendered exactly as a student gets them, with their labels."""

from collections.abc import Sequence

import numpy as np
import torch

from fkd.errors import ImagesError
from fkd.images import ImageList
from fkd.labels import SoftLabels
from fkd.showing.crop_figures import Pixels, ShownCrop, gallery_figure, sample_figure
from fkd.showing.label_figures import Picture
from fkd.statistics import NotableCrop, restored
from fkd.store import LabelledImages, LabelStore, Slab
from fkd.views import empty_views, render

_TOP = 5


class CropViewer:
    """Draws images of a store; `skipped` says which could not be drawn, and why."""

    def __init__(self, store: LabelStore, images: ImageList, names: Sequence[str]) -> None:
        self._store, self._images, self._names = store, images, names
        self._files = LabelledImages(images, store.content_hashes())
        self.skipped: list[str] = []

    def sample(self, image_index: int, num_crops: int, number: int) -> Picture | None:
        """Draw an image with its first crops; None where it cannot be drawn."""
        slab = self._store.read_images(range(image_index, image_index + 1), num_crops)
        pixels = self._decode(image_index, slab)
        if pixels is None:
            return None
        crops = self._crops(pixels, slab, range(num_crops))
        name, path = self._names[int(slab.target[0])], self._images.paths[image_index]
        image = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
        likely = crops[0].likely[0][0]
        return Picture(
            f"sample-{number}.png",
            sample_figure(image, crops, name, path),
            path,
            f"Class {name}. The numbered boxes, and their crops as the student gets them, with the "
            "teacher's most likely classes; ↔ is mirrored, bold is the image's own class.",
            f"{path} with {num_crops} boxes, and the crops; the first one's most likely class: {likely}.",
        )

    def gallery(self, unsure: Sequence[NotableCrop]) -> Picture | None:
        """Draw the crops that the teacher is least sure of; None where none can be drawn."""
        crops, texts = [], []
        for unsure_crop in unsure:
            index = unsure_crop.image_index
            slab = self._store.read_images(range(index, index + 1), unsure_crop.crop + 1)
            pixels = self._decode(index, slab)
            if pixels is None:
                continue
            crops += self._crops(pixels, slab, range(unsure_crop.crop, unsure_crop.crop + 1))
            name = self._names[int(slab.target[0])]
            texts.append(f"{name} · {unsure_crop.entropy:.2f} nats")
        if not crops:
            return None
        return Picture(
            "least-sure.png",
            gallery_figure(crops, texts),
            "Crops with the lowest top probability",
            "One crop an image, the least sure first; below it the image's class, in bold where it is "
            "among the most likely, and the label's entropy.",
            f"{len(crops)} crops with the teacher's most likely classes.",
        )

    def _decode(self, image_index: int, slab: Slab) -> torch.Tensor | None:
        """Decode an image that still is as it was labelled, or note why it is not drawn."""
        try:
            return self._files.decode(image_index, slab.size[0])
        except ImagesError as error:
            self.skipped.append(f"Not drawn: {error}.")
            return None

    def _crops(self, pixels: torch.Tensor, slab: Slab, slots: range) -> list[ShownCrop]:
        spec = self._store.spec
        labels = restored(self._store, slab, np.zeros(1, np.int64))
        views = empty_views(len(slots), spec.size)
        shown = []
        for slot, view in zip(slots, views, strict=True):
            box, flip = slab.box[0, slot], bool(slab.flip[0, slot])
            render(pixels, box, flip, view, spec.interpolation)
            seen: Pixels = view.permute(1, 2, 0).numpy().copy()
            likely = self._likely(labels, slot, int(slab.target[0]))
            top, left, height, width = box.tolist()
            shown.append(ShownCrop(seen, (top, left, height, width), flip, likely))
        return shown

    def _likely(
        self, labels: SoftLabels, row: int, target: int
    ) -> tuple[tuple[str, float | None, bool], ...]:
        """Return the head of a label: names, probabilities where there are any, and which is its own."""
        value = labels.value[row]
        if labels.index is None:
            top = value.topk(min(_TOP, len(value)))
            ids, probs = top.indices.tolist(), top.values.tolist()
        else:
            ids, probs = labels.index[row, :_TOP].tolist(), value[:_TOP].tolist()
        soft = self._store.spec.labels.keeps_values
        return tuple(
            (self._names[n], p if soft else None, n == target)
            for n, p in zip(ids, probs, strict=True)
        )
