"""The views of a store and its labels, for teachers that join those who labelled it.

Legend: n images, M crops of each, B views of a batch, C classes.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import ViewPolicy
from fkd.errors import DecodeError, ImagesError, Reason
from fkd.images import REASONS, ImageList, content_hash
from fkd.labelling import ImageSize, Run, Strip
from fkd.machine import upload
from fkd.store import Block, LabelStore, Slab, StoredMixes
from fkd.views import Boxes, Flips, Mixes


class JoinedViews:
    """What a finished store has of each image: its views, and the labels that others are averaged with.

    With p the probabilities of the teachers that join, q the stored labels read whole and w the `share`
    of those who join, the mean is w p + (1 - w) q. Where the store keeps all classes, q is what its
    teachers said, but for rounding. Of top-K labels it is what their bytes tell: the K kept classes, and
    of each other class what the residual is on average. With r what its teachers said and m = w p +
    (1 - w) r the mean of all, the stored mean is near: TV(m, w p + (1 - w) q) = (1 - w) TV(r, q), and
    KL(m ‖ w p + (1 - w) q) ≤ (1 - w) KL(r ‖ q), since KL is convex in both labels together.
    """

    def __init__(self, store: LabelStore, share: float, images_ahead: int) -> None:
        """Read from `store`, of which so many images are in work at a time; `share` is w."""
        self._store, self._share = store, share
        self._runs = store.image_runs()
        self._starts = np.array([run.start for run in self._runs])
        self._numbers, self._hashes_of_truth = store.image_numbers(), store.truth_hashes()
        self.crops = range(store.spec.num_crops)
        fewest = min(len(run) for run in self._runs)
        self._slab = lru_cache(2 + images_ahead // fewest)(self._read)
        self._lock = threading.Lock()
        self._mixes = StoredMixes.of_store(store)

    @property
    def policy(self) -> ViewPolicy:
        """The policy that the store's views are drawn by."""
        return self._store.spec.views

    @property
    def mixed(self) -> bool:
        """Whether views are mixed with those of other images."""
        return self._mixes is not None

    def runs(self, image_index: int) -> list[Run]:
        """Return the crops of an image in order, by what they are mixed with."""
        if self._mixes is None:
            return [Run(self.crops)]
        mixes = self._mixes.of(np.array([image_index]), np.array(self.crops))[0]
        edges = [0, *(np.flatnonzero(np.diff(mixes.image)) + 1).tolist(), len(self.crops)]
        found = []
        for first, stop in pairwise(edges):
            run, some = self.crops[first:stop], mixes[first:stop]
            partner = int(some.image[0]) if some.mixed.any() else None
            found.append(Run(run, partner, None if partner is None else partial(_known, some)))
        return found

    def meet(
        self, image_index: int, size: ImageSize, digest: int, error: DecodeError | None
    ) -> None:
        """Raise `ImagesError` where a partner cannot be decoded: it had labels."""
        if error is not None:
            raise ImagesError(f"{error}; other views are mixed with it: restore the image")

    @property
    def exact(self) -> bool:
        """Whether the store's labels are what its teachers said, but for the rounding of float16."""
        scheme = self._store.spec.scheme
        return scheme.kind == "full" and not scheme.coarse

    def number(self, image_index: int) -> int:
        """Return the number by which the views of an image are drawn."""
        return int(self._numbers[image_index])

    def of(self, image_index: int, size: ImageSize) -> tuple[Boxes, Flips]:
        """Return the views of an image of `size` (height, width): boxes u16 [M, 4] and flips bool [M].

        Raises `ImagesError` for an image that is not of the size that was labelled.
        """
        slab, row = self._at(image_index)
        height, width = slab.size[row].tolist()
        if size != (height, width):
            raise ImagesError(
                f"{self._store.image_paths()[image_index]} has {size[1]}×{size[0]} pixels, "
                f"{width}×{height} when it was labelled; restore the image"
            )
        return slab.box[row], slab.flip[row]

    def mean(self, probs: Tensor, strips: Sequence[Strip]) -> Tensor:
        """Return w p + (1 - w) q, f32 [B, C], of p f32 [B, C]: `probs` of the views of `strips`."""
        parts: dict[str, list[NDArray[np.generic]]] = {}
        for strip in strips:
            slab, row = self._at(strip.image_index)
            crops = slice(strip.first_crop, strip.first_crop + strip.count)
            for name, values in slab.kept.items():
                parts.setdefault(name, []).append(values[row, crops])
        kept = {name: _on(probs.device, np.concatenate(part)) for name, part in parts.items()}
        stored = self._store.spec.labels.restore(kept).dense(probs.shape[1])
        return torch.lerp(stored, probs, self._share)

    def complete(self, images: range, block: Block) -> None:
        """Put what a store has beside views into a block: numbers of views, hashes of masks or texts."""
        if self._hashes_of_truth is not None:
            block.truth_hash = self._hashes_of_truth[images.start : images.stop]
        if self._store.spec.numbered:
            numbers = self._numbers[images.start : images.stop]
            block.image_number = numbers.astype(np.uint64)

    def _at(self, image_index: int) -> tuple[Slab, int]:
        """Return the labels that an image's are read with, and its row in them."""
        run = int(np.searchsorted(self._starts, image_index, side="right")) - 1
        with self._lock:  # threads that need the same labels wait for one who reads them
            return self._slab(run), image_index - int(self._starts[run])

    def _read(self, run: int) -> Slab:
        return self._store.read(self._runs[run], self.crops)


def _known(mixes: Mixes, size: ImageSize) -> Mixes:
    """Return how views are mixed, which the store says."""
    return mixes


def _on(device: torch.device, values: NDArray[np.generic]) -> Tensor:
    """Return stored numbers on a device; ids, which few operations take as u32, are int64."""
    wide = values.astype(np.int64) if values.dtype == np.uint32 else values
    return upload(torch.from_numpy(wide), device)


def labelled_again(store: LabelStore, images: ImageList) -> ImageList:
    """Return the images of a store, in its order, with its classes and as they were when labelled.

    To read another one raises `ImagesError`, and one that had no labels then `DecodeError`.
    """
    targets, names = store.targets(), store.class_names()
    if targets is None:
        targets, names = np.full(len(images), -1), ()
    hashes, status = store.content_hashes(), store.status()
    contents = _AsLabelled(images, status, hashes, str(store.path))
    return replace(images, targets=targets, classes=names, contents=contents)


@dataclass(frozen=True)
class _AsLabelled:
    """The contents of images as they were labelled: `status` u8 [n] and `hashes` u64 [n], if any."""

    images: ImageList
    status: NDArray[np.uint8]
    hashes: NDArray[np.uint64] | None
    store: str

    def read(self, image_index: int) -> bytearray:
        name = self.name(image_index)
        if status := int(self.status[image_index]):
            reason = cast("Reason", REASONS[status])
            raise DecodeError(name, reason, f"so it has no labels in {self.store}")
        try:
            encoded = self.images.read(image_index)
        except DecodeError as error:
            raise ImagesError(f"{error}; it was labelled in {self.store}: restore it") from error
        if self.hashes is not None and content_hash(encoded) != int(self.hashes[image_index]):
            raise ImagesError(
                f"{name} is not the file that was labelled in {self.store} (its content is another); "
                "restore the image"
            )
        return encoded

    def name(self, image_index: int) -> str:
        return self.images.name(image_index)

    def take(self, rows: NDArray[np.int64]) -> "_AsLabelled":
        hashes = None if self.hashes is None else self.hashes[rows]
        return replace(self, images=self.images.take(rows), status=self.status[rows], hashes=hashes)
