"""Labels of another program and the images that they are of, made into rows of a block.

Legend: n images, M crops, K classes of a label, C classes.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from fkd.errors import DecodeError
from fkd.exchanging.joint import ForeignImage, ForeignLabels, LabelFileError, Traits
from fkd.format import StoreSpec
from fkd.images import REASONS, ImageList, content_hash, image_size
from fkd.labels import (
    NUM_MEASURES,
    SoftLabels,
    StoredArray,
    quantize,
    quantize_sparse,
    row_fidelity,
    sparse_fidelity,
)
from fkd.store import Block

Refused = DecodeError | LabelFileError


@dataclass
class Rows:
    """Images of a run, converted: `usable` rows of it have labels, the others were `refused`.

    `kept` are quantized labels [n · M, …] of the usable ones. `fidelity` f64 [6] is summed over these
    crops. `clamped` counts boxes that were moved into their images.
    """

    run: range
    block: Block
    refused: list[Refused] = field(default_factory=list)
    fidelity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(NUM_MEASURES))
    num_usable: int = 0
    clamped: int = 0


class Filling:
    """Fills one block after the other with the runs of images that come in order."""

    def __init__(self, spec: StoreSpec) -> None:
        """Begin with no block open."""
        self._spec = spec
        self._parts: list[Rows] = []

    def add(self, rows: Rows) -> tuple[int, Block] | None:
        """Take the next run; return a block and its number once it is whole."""
        self._parts.append(rows)
        number = rows.run.start // self._spec.block_images
        whole = self._spec.block_range(number)
        if rows.run.stop < whole.stop:
            return None
        parts, self._parts = self._parts, []
        block = Block.empty(self._spec, number)
        for part in parts:
            into = slice(part.run.start - whole.start, part.run.stop - whole.start)
            for name in ("box", "flip", "size", "status", "content_hash"):
                getattr(block, name)[into] = getattr(part.block, name)
            for name, values in part.block.kept.items():
                block.kept[name][into] = values
        crops = sum(part.num_usable for part in parts) * self._spec.num_crops
        if crops:
            block.fidelity[:] = np.sum([part.fidelity for part in parts], axis=0) / crops
        return number, block


def convert(
    source: ForeignLabels, traits: Traits, images: ImageList, spec: StoreSpec, run: range
) -> Rows:
    """Read the labels of a run of images, and the images' sizes and hashes; quantize the labels.

    Images are read, for their hashes, but not decoded. Raises `LabelFileError` for a hostile file alone.
    """
    rows = Rows(run, Block.of_images(spec, len(run)))
    usable: list[int] = []
    labels: list[ForeignImage] = []
    for row, image_index in enumerate(run):
        try:
            encoded = images.read(image_index)
            size = image_size(images.name(image_index), encoded)
            found = source.read(image_index, *size, traits)
        except (DecodeError, LabelFileError) as error:
            if isinstance(error, LabelFileError) and error.hostile:
                raise
            rows.block.status[row] = REASONS.index(error.reason)
            rows.refused.append(error)
            continue
        rows.block.size[row], rows.block.content_hash[row] = size, content_hash(encoded)
        rows.block.box[row], rows.block.flip[row] = found.box, found.flip
        rows.clamped += found.clamped
        usable.append(row)
        labels.append(found)
    if usable:
        kept, rows.fidelity = _quantized(labels, spec)
        for name, values in kept.items():
            rows.block.kept[name][usable] = values.reshape(len(usable), spec.num_crops, -1)
    rows.num_usable = len(usable)
    return rows


def _quantized(
    images: list[ForeignImage], spec: StoreSpec
) -> tuple[dict[str, StoredArray], NDArray[np.float64]]:
    """Return what is kept of the labels of images, [n · M, …] by name, and their summed fidelity."""
    value = torch.from_numpy(np.concatenate([image.value for image in images]))
    if images[0].index is None:
        kept = quantize(value, spec.scheme)
        fidelity = row_fidelity(value, kept, spec.scheme)
    else:
        ids = [image.index for image in images if image.index is not None]
        index = torch.from_numpy(np.concatenate(ids))
        others = max(1, spec.num_classes - index.shape[1])
        # In float64: little may be left of 1.
        tail = (1 - value.sum(dim=1)).clamp(min=0) / others
        labels = SoftLabels(index, value.float(), tail.float(), spec.num_classes)
        kept = quantize_sparse(labels, spec.scheme)
        fidelity = sparse_fidelity(labels, kept, spec.scheme)
    arrays = {name: values.numpy() for name, values in kept.items()}
    return arrays, fidelity.double().sum(dim=0).numpy()
