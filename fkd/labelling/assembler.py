"""Labelled views are gathered into blocks; a block may need the views of several batches."""

from collections.abc import Callable, Iterator

from fkd.errors import DecodeError
from fkd.images import REASONS
from fkd.labelling.batches import TeacherBatch
from fkd.labels import Quantized
from fkd.store import Block, StoreSpec


class Assembler:
    """Collects labelled views, which come in order, into blocks."""

    def __init__(self, spec: StoreSpec, on_bad: Callable[[DecodeError], None]) -> None:
        """Begin with no block open; `on_bad` is called for every image that cannot be used."""
        self._spec = spec
        self._on_bad = on_bad
        self._missing: dict[int, int] = {}
        self._open: dict[int, Block] = {}

    def add(self, batch: TeacherBatch, kept: Quantized) -> Iterator[tuple[int, Block]]:
        """Take a batch and its labels; yield the blocks that it completes, with their numbers."""
        spec = self._spec
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
            for name, values in kept.items():
                block.kept[name][row, crops] = values[rows].numpy()
            self._missing[strip.image_index // spec.block_images] -= strip.count
        for number in [b for b in self._open if self._missing[b] == 0]:
            yield number, self._open.pop(number)

    def _place(self, image_index: int) -> tuple[Block, int]:
        number, row = divmod(image_index, self._spec.block_images)
        if number not in self._open:
            self._open[number] = Block.empty(self._spec, number)
            self._missing[number] = len(self._spec.block_range(number)) * self._spec.num_crops
        return self._open[number], row
