"""Crops of a store as pictures: decoded, rendered exactly as a student gets them, with their labels."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fkd.config import is_line
from fkd.errors import ImagesError
from fkd.format import StoreSpec
from fkd.images import ImageList
from fkd.labels import SoftLabels, entropy
from fkd.originals import LabelledImages, LabelledMasks, LabelledTexts
from fkd.showing.crop_figures import (
    Pixels,
    ShownCrop,
    ShownLine,
    ShownMap,
    gallery_figure,
    sample_figure,
)
from fkd.showing.line_figures import line_gallery_figure, line_sample_figure
from fkd.showing.map_figures import map_gallery_figure, map_sample_figure
from fkd.showing.mixed_crops import MixedCrops, Mixing, OtherImage
from fkd.showing.picture import Picture
from fkd.statistics import NotableCrop, restored
from fkd.store import LabelStore, Slab, Toning
from fkd.truth import read_off
from fkd.views import empty_views, render, render_mask

_TOP = 5


class CropViewer:
    """Draws images of a store; `skipped` says which could not be drawn, and why."""

    def __init__(
        self,
        store: LabelStore,
        images: ImageList,
        names: Sequence[str],
        formats: Sequence[str],
        masks: LabelledMasks | None = None,
        texts: LabelledTexts | None = None,
    ) -> None:
        """Take the names of the classes as they are to be read, and the formats of the figures.

        Maps of labels are drawn with the `masks` of their images, where there are any, and what lines
        read is compared with their `texts`.
        """
        # Vectors are drawn by their neighbours, and are not read again for each image.
        self._store, self._images = store.of_targets(()), images
        self._names, self._formats = names, formats
        self._files = LabelledImages(images, store.content_hashes())
        self._toning = Toning.of_store(store)
        self._mixing = MixedCrops(store, images, self._files, names)
        self._masks, self._texts = masks, texts
        self.skipped: list[str] = []

    def sample(self, image_index: int, num_crops: int, number: int) -> Picture | None:
        """Draw an image with its first crops; None where it cannot be drawn."""
        slab = self._store.read_images(range(image_index, image_index + 1), num_crops)
        drawn = self._drawn(image_index, slab, range(num_crops))
        if drawn is None:
            return None
        pixels, crops, others = drawn
        name, path = self._class_of(slab), self._images.paths[image_index]
        image = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
        what = (
            "most likely class" if self._store.spec.labels.keeps_first else "class drawn most often"
        )
        says = f"; the first one's {what}: {crops[0].likely[0][0]}" if crops[0].likely else ""
        if crops[0].line is not None:
            says = f"; the first one reads {crops[0].line.said!r}"
            figure = line_sample_figure(image, crops, path, others, self._formats)
        elif self._of_maps:
            says = ", each with the classes that the teacher sees in it"
            how = others, self._names, self._formats
            figure = map_sample_figure(image, crops, name or "", path, *how)
        else:
            figure = sample_figure(image, crops, name or "", path, others, self._formats)
        return Picture(
            f"sample-{number}",
            figure,
            path,
            f"Class {name}{_mixed_with(others)}." if name else "",
            f"{path} with {num_crops} boxes, and the crops{says}.",
        )

    def view(self, image_index: int) -> Pixels | None:
        """Draw the first crop of an image, u8 [S, S, 3]; None where it cannot be drawn."""
        slab = self._store.read_images(range(image_index, image_index + 1), 1)
        drawn = self._drawn(image_index, slab, range(1))
        return None if drawn is None else drawn[1][0].pixels

    def class_of(self, image_index: int) -> str | None:
        """Return the name of an image's class, None where images have none."""
        targets = self._store.targets()
        return None if targets is None else self._names[int(targets[image_index])]

    def taken(self) -> tuple[str, ...]:
        """Return why images were not drawn, and forget it."""
        skipped = tuple(dict.fromkeys(self.skipped))
        self.skipped.clear()
        return skipped

    def gallery(self, name: str, notable: Sequence[NotableCrop], title: str) -> Picture | None:
        """Draw crops of several images, each with its image's class; None where none can be drawn."""
        crops, texts = [], []
        for one in notable:
            index = one.image_index
            slab = self._store.read_images(range(index, index + 1), one.crop + 1)
            drawn = self._drawn(index, slab, range(one.crop, one.crop + 1))
            if drawn is None:
                continue
            crops += drawn[1]
            own = self._class_of(slab)
            if own and (mixing := drawn[1][0].mixing) is not None:
                own += f" {mixing.own_share:.2f} + {self._names[mixing.other_target]}"
            texts.append(f"{own} · {one.entropy:.2f} nats" if own else f"{one.entropy:.2f} nats")
        if not crops:
            return None
        what = f"{len(crops)} crops with the teacher's most likely classes."
        if crops[0].line is not None:
            what = f"{len(crops)} crops with what their labels read."
            figure = line_gallery_figure(crops, texts, self._formats)
        elif self._of_maps:
            figure = map_gallery_figure(crops, texts, self._names, self._formats)
        else:
            figure = gallery_figure(crops, texts, self._formats)
        caption = _gallery_caption(self._store.spec)
        return Picture(name, figure, title, caption, what)

    def _class_of(self, slab: Slab) -> str | None:
        """Return the class of the one image of a slab, None where images have none."""
        return None if self._store.spec.unlabelled else self._names[int(slab.target[0])]

    def _drawn(
        self, image_index: int, slab: Slab, slots: range
    ) -> tuple[torch.Tensor, list[ShownCrop], list[OtherImage]] | None:
        """Draw crops of an image that still is as it was labelled, or note why they are not drawn.

        Returns its pixels, the crops and the images that they are mixed with, if any.
        """
        spec = self._store.spec
        views = empty_views(len(slots), spec.size)
        try:
            pixels = self._files.decode(image_index, slab.size[0])
            for slot, view in zip(slots, views, strict=True):
                box, flip = slab.box[0, slot], bool(slab.flip[0, slot])
                render(pixels, box, flip, view, spec.interpolation, spec.views.fit)
            self._toning.change_all(views, image_index, np.array(slots))
            mixing, others = self._mixing.blend(image_index, slots, views)
            crops = self._crops(image_index, slab, slots, views, mixing)
        except ImagesError as error:
            self.skipped.append(f"Not drawn: {error}.")
            return None
        return pixels, crops, others

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

    @property
    def _of_maps(self) -> bool:
        """Whether labels are of the cells of maps."""
        return len(self._store.spec.grid) == 2

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


def _gallery_caption(spec: StoreSpec) -> str:
    """Say what stands beside or below each crop of a gallery."""
    if is_line(spec.grid):
        over = "its text and what its labels read, red where these differ"
        over = over if spec.texts else "what its labels read"
        return (
            f"One crop an image, over {over}. On the left are the mean of their largest probabilities, "
            "and of their entropies."
        )
    if spec.grid:
        return "One crop an image; below it the mean entropy of its labels."
    if spec.unlabelled:
        return "One crop an image; below it the label's entropy."
    if spec.mixes:
        return (
            "One crop an image; below it the classes of both images, the share of the first one, and "
            "the label's entropy. These classes are bold where they are among the most likely."
        )
    return (
        "One crop an image; below it the folder's class and the label's entropy. The class is bold where "
        "it is among the most likely."
    )


def _mixed_with(others: Sequence[OtherImage]) -> str:
    """Name the classes of the images that crops are mixed with, if any."""
    names = list(dict.fromkeys(other.title for other in others))
    return f", mixed with {', '.join(names)}" if names else ""
