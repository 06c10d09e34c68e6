"""Labelled views are gathered into blocks; a block may need the views of several batches."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from fkd.errors import DecodeError
from fkd.format import (
    StoreSpec,
)
from fkd.images import REASONS
from fkd.labelling.answers import LabelledBatch
from fkd.labels import NUM_MEASURES
from fkd.store import (
    Block,
)


class Assembler:
    """Collects labelled views, which come in order, into blocks."""

    def __init__(self, spec: StoreSpec, on_bad: Callable[[DecodeError], None]) -> None:
        """Begin with no block open; `on_bad` is called for every image that cannot be used."""
        self._spec = spec
        self._on_bad = on_bad
        self._missing: dict[int, int] = {}
        self._open: dict[int, Block] = {}
        # Of the crops of each open block: their fidelity, summed, f64 [6], and how many they are.
        self._sums: dict[int, NDArray[np.float64]] = {}
        self._counts: dict[int, int] = {}

    def add(self, labelled: LabelledBatch) -> Iterator[tuple[int, Block]]:
        """Take a batch with its labels; yield the blocks that it completes, with their numbers."""
        spec, batch = self._spec, labelled.batch
        fidelity = labelled.fidelity.numpy().astype(np.float64)
        for image in batch.begun:
            block, row = self._place(image.image_index)
            block.box[row], block.flip[row] = image.boxes, image.flips
            block.size[row], block.content_hash[row] = image.size, image.content_hash
            if image.error is not None:
                block.status[row] = REASONS.index(image.error.reason)
                self._missing[image.image_index // spec.block_images] -= spec.num_crops
                self._on_bad(image.error)
        for strip in batch.strips:
            block, row = self._place(strip.image_index)
            crops = slice(strip.first_crop, strip.first_crop + strip.count)
            rows = slice(strip.first_row, strip.first_row + strip.count)
            for name, values in labelled.kept.items():
                block.kept[name][row, crops] = values[rows].numpy()
            number = strip.image_index // spec.block_images
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

    def _place(self, image_index: int) -> tuple[Block, int]:
        number, row = divmod(image_index, self._spec.block_images)
        if number not in self._open:
            self._open[number] = Block.empty(self._spec, number)
            self._sums[number], self._counts[number] = np.zeros(NUM_MEASURES), 0
            self._missing[number] = len(self._spec.block_range(number)) * self._spec.num_crops
        return self._open[number], row
