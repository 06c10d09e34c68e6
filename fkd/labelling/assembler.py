"""Labelled views are gathered into blocks; a block may need the views of several batches."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from fkd.format import (
    StoreSpec,
)
from fkd.images import REASONS
from fkd.labelling.answers import LabelledBatch
from fkd.labelling.drawing import DrawnImage
from fkd.labelling.mixing import MixedRows
from fkd.labels import NUM_MEASURES
from fkd.store import (
    Block,
)


class Assembler:
    """Collects labelled views, which come in order, into the blocks of a segment."""

    def __init__(self, spec: StoreSpec, on_image: Callable[[DrawnImage], None]) -> None:
        """Begin with no block open; `on_image` is called for every image that comes."""
        self._spec = spec
        self._on_image = on_image
        self._missing: dict[int, int] = {}
        self._open: dict[int, Block] = {}
        # Of the crops of each open block: their fidelity, summed, f64 [6], and how many they are.
        self._sums: dict[int, NDArray[np.float64]] = {}
        self._counts: dict[int, int] = {}

    def add(self, labelled: LabelledBatch) -> Iterator[tuple[int, Block]]:
        """Take a batch with its labels; yield the blocks that it completes, with their numbers in it."""
        spec, batch = self._spec, labelled.batch
        fidelity = labelled.fidelity.numpy().astype(np.float64)
        for image in batch.begun:
            self._on_image(image)
            block, row, number = self._place(image.image_index)
            block.box[row], block.flip[row] = image.boxes, image.flips
            block.size[row], block.content_hash[row] = image.size, image.content_hash
            if block.truth_hash is not None:
                block.truth_hash[row] = image.truth_hash
            if image.error is not None:
                block.status[row] = REASONS.index(image.error.reason)
                self._missing[number] -= spec.num_crops
        for strip in batch.strips:
            block, row, number = self._place(strip.image_index)
            first = strip.first_crop - spec.first_crop
            crops = slice(first, first + strip.count)
            rows = slice(strip.first_row, strip.first_row + strip.count)
            for name, values in labelled.kept.items():
                block.kept[name][row, crops] = values[rows].numpy()
            _put_mixes(block, row, crops, batch.mixed, rows)
            self._sums[number] += fidelity[rows].sum(axis=0)
            self._counts[number] += strip.count
            self._missing[number] -= strip.count
        for number in [b for b in self._open if self._missing[b] == 0]:
            yield number, self._finish(number)

    def _finish(self, number: int) -> Block:
        block, sums = self._open.pop(number), self._sums.pop(number)
        count = self._counts.pop(number)
        if count:
            block.fidelity[:] = sums / count
        return block

    def _empty(self, number: int) -> Block:
        """Return a block without labels, of which no view is mixed."""
        block, images = Block.empty(self._spec, number), self._spec.block_range(number)
        if block.mixes is not None:
            block.mixes.image[:] = np.array(images)[:, None] + self._spec.first_image
        return block

    def _place(self, image_index: int) -> tuple[Block, int, int]:
        """Return the block of an image, open, its row there, and the block's number in the segment."""
        number, row = divmod(image_index - self._spec.first_image, self._spec.block_images)
        if number not in self._open:
            self._open[number] = self._empty(number)
            self._sums[number], self._counts[number] = np.zeros(NUM_MEASURES), 0
            self._missing[number] = len(self._spec.block_range(number)) * self._spec.num_crops
        return self._open[number], row, number


def _put_mixes(block: Block, row: int, crops: slice, mixed: MixedRows | None, rows: slice) -> None:
    """Say of some crops of an image in a block how these rows of a batch are mixed."""
    if mixed is None or block.mixes is None or block.partner_content is None:
        return
    some = mixed.mixes.mixed[rows]
    places = np.flatnonzero(some) + crops.start
    block.mixes[row, places] = mixed.mixes[rows][some]
    block.partner_content[row, places] = mixed.content[rows][some]
