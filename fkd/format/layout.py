"""Which arrays a spec implies: their types, chunks and shards. Writer and reader share this room.

Legend: N images, M stored crops, K kept classes, C classes; a block is a run of images that is
labelled and committed together, one shard per array.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fkd.config import Grid, is_line
from fkd.format.spec import StoreSpec
from fkd.labels import NUM_MEASURES, Field

MIN_CHUNK_CROPS = 4  # where crops are large: those of one pass of m = 4
_FULL_CHUNK_BYTES = 4 * 2**20
# Who reads one view unpacks all cells of its chunk; twice as many save 1 %. Maps of 2^i + 1 rows and
# columns get as many images as those of 2^i.
_CHUNK_CELLS = 600_000

# Columns of the palettes that are read together: most images have fewer classes than this.
_PALETTE_TIER = 256

VIEW_BYTES = 9  # box and flip of a crop, in memory
SEAL_BYTES = 32  # SHA-256 over the block's shards

# Of more classes nothing is expected: to know it takes as many bytes a cell.
_MOST_EXPECTED = 2**8

Coding = Literal[
    "box",
    "flip",
    "palette",
    "older palette",
    "slot",
    "code",
    "dense",
    "cells",
    "frames",
    "text",
    "plain",
]


@dataclass(frozen=True)
class ArrayLayout:
    """One array of the store; `shards` is None where each chunk is an object of its own.

    `by_block` arrays have one object per block, written when the block is done.
    """

    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    coding: Coding
    by_block: bool = True

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, of all that belongs to one image."""
        return math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    @property
    def block_rows(self) -> int:
        """Rows of an array that is kept by block: of its images, or the one of the block itself."""
        return (self.shards or self.chunks)[0]

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one (inner) chunk when it is decompressed."""
        return math.prod(self.chunks) * np.dtype(self.dtype).itemsize


def array_layouts(spec: StoreSpec) -> dict[str, ArrayLayout]:
    """Return every array that a store of this spec has, in the order in which a block is sealed.

    A segment of more crops has none of images, which lie in the segment that has those, but a hash of
    them. No segment but the root has classes.
    """
    layouts = _view_layouts(spec) if spec.stores_views else _view_hash_layouts(spec)
    layouts |= _mix_layouts(spec) | _label_layouts(spec)
    if spec.first_crop:
        layouts["image_hash"] = ArrayLayout("uint64", (spec.num_blocks,), (1,), None, "plain")
    else:
        layouts |= _image_layouts(spec)
    if spec.format_version >= 3:
        measures = (spec.num_blocks, NUM_MEASURES)
        layouts["fidelity"] = ArrayLayout("float32", measures, (1, NUM_MEASURES), None, "plain")
    if not spec.first_crop:
        layouts |= _list_layouts(spec)
    if not spec.root:
        layouts |= _constant_layouts(spec)
        layouts["class_name"] = _text_layout(spec.class_name_bytes)
        if spec.class_title_bytes:
            layouts["class_title"] = _text_layout(spec.class_title_bytes)
    seals = (spec.num_blocks, SEAL_BYTES)
    layouts["done"] = ArrayLayout("uint8", seals, (1, SEAL_BYTES), None, "plain", False)
    return layouts


def crop_layouts(spec: StoreSpec) -> dict[str, ArrayLayout]:
    """Return the arrays with a row per crop, those of boxes and mixes too where they are drawn."""
    return _view_layouts(spec) | _stored_mix_layouts(spec) | _label_layouts(spec)


def _view_hash_layouts(spec: StoreSpec) -> dict[str, ArrayLayout]:
    """Return the array of hashes of boxes and flips that are not stored."""
    hashes = (spec.num_blocks, spec.num_chunks)
    return {"view_hash": ArrayLayout("uint64", hashes, (1, spec.num_chunks), None, "plain")}


def _mix_layouts(spec: StoreSpec) -> dict[str, ArrayLayout]:
    """Return the arrays of what views are mixed with, or of its hashes where it is drawn."""
    if spec.views.mix.mixes:
        hashes = (spec.num_blocks, spec.num_chunks)
        return {"mix_hash": ArrayLayout("uint64", hashes, (1, spec.num_chunks), None, "plain")}
    return _stored_mix_layouts(spec) if spec.stored_mixes else {}


def _stored_mix_layouts(spec: StoreSpec) -> dict[str, ArrayLayout]:
    return {
        "partner": _per_crop(spec, "uint32", "palette"),
        "partner_box": _per_crop(spec, "uint16", "box", 4),
        "partner_flip": _per_crop(spec, "bool", "flip"),
        "share": _per_crop(spec, "uint16", "flip"),
        "hole": _per_crop(spec, "uint16", "box", 4),
    }


def _image_layouts(spec: StoreSpec) -> dict[str, ArrayLayout]:
    """Return the arrays of what a labeller found of each image, kept by block."""
    n, block = spec.num_images, spec.block_images
    layouts = {
        "size": ArrayLayout("uint16", (n, 2), (block, 2), None, "plain"),
        "status": ArrayLayout("uint8", (n,), (block,), None, "plain"),
    }
    if spec.format_version >= 2:
        layouts["content_hash"] = ArrayLayout("uint64", (n,), (block,), None, "plain")
    if spec.truth_array:
        layouts[spec.truth_array] = ArrayLayout("uint64", (n,), (block,), None, "plain")
    if spec.numbered:
        layouts["image_number"] = ArrayLayout("uint64", (n,), (block,), None, "plain")
    return layouts


def _list_layouts(spec: StoreSpec) -> dict[str, ArrayLayout]:
    """Return the arrays of the list of images, written when the store is made."""
    n, layouts = spec.num_images, {}
    if not spec.unlabelled:
        ids = _id_dtype(spec.num_classes)
        layouts["target"] = ArrayLayout(ids, (n,), (n,), None, "plain", False)
    layouts["num_bytes"] = ArrayLayout("uint32", (n,), (n,), None, "plain", False)
    layouts["path"] = _text_layout(spec.path_bytes)
    return layouts


def _constant_layouts(spec: StoreSpec) -> dict[str, ArrayLayout]:
    """Return the arrays of what schemes of vectors have learned, written when the store is made."""
    return {
        name: ArrayLayout(dtype, shape, shape, None, "plain", False)
        for kept in spec.vectors.values()
        for name, (dtype, shape) in kept.constants.items()
    }


def _text_layout(num_bytes: int) -> ArrayLayout:
    return ArrayLayout("uint8", (num_bytes,), (num_bytes,), None, "text", False)


def expects(grid: Grid, num_classes: int) -> bool:
    """Say whether ids are of cells of which something is expected when they are packed."""
    return not is_line(grid) and num_classes <= _MOST_EXPECTED


def _per_crop(spec: StoreSpec, dtype: str, coding: Coding, *last: int) -> ArrayLayout:
    """Return an array with one row per crop, sharded by block."""
    n, m, block, chunk = spec.num_images, spec.num_crops, spec.block_images, spec.chunk_crops
    padded = spec.num_chunks * chunk
    return ArrayLayout(dtype, (n, m, *last), (block, chunk, *last), (block, padded, *last), coding)


def _view_layouts(spec: StoreSpec) -> dict[str, ArrayLayout]:
    """Return the arrays of boxes and flips."""
    return {
        "box": _per_crop(spec, "uint16", "box", 4),
        "flip": _per_crop(spec, "bool", "flip"),
    }


def _label_layouts(spec: StoreSpec) -> dict[str, ArrayLayout]:
    """Return the arrays of what is kept of labels and vectors.

    Dense ones are large, so that a chunk of them has few crops. Planes have as many as codes have.
    """
    n, m = spec.num_images, spec.num_crops
    block, chunk = spec.block_images, spec.chunk_crops
    padded = spec.num_chunks * chunk
    layouts: dict[str, ArrayLayout] = {}
    for field in spec.fields:
        match field.packing:
            case "ids" | "draws":
                width = min(spec.num_classes, m * field.length)
                tier = min(width, _PALETTE_TIER)
                padded_width = -(-width // tier) * tier
                layouts["palette"] = ArrayLayout(
                    _id_dtype(spec.num_classes),
                    (n, width),
                    (block, tier),
                    (block, padded_width),
                    "palette" if spec.format_version >= 3 else "older palette",
                )
                layouts["slot"] = _per_crop(spec, _id_dtype(width), "slot", field.length)
            case "codes":
                layouts[field.name] = _per_crop(spec, field.dtype, "code", field.length)
            case "cell ids" | "cell codes":
                layouts[field.name] = _cell_layout(spec, field, padded)
            case "dense" | "planes":
                # A plane has a table of codes of its own, which many views must share.
                crops = chunk if field.packing == "planes" else min(MIN_CHUNK_CROPS, chunk)
                images = max(1, min(block, _FULL_CHUNK_BYTES // (crops * field.num_bytes)))
                while block % images:
                    images -= 1
                layouts[field.name] = ArrayLayout(
                    field.dtype,
                    (n, m, field.length),
                    (images, crops, field.length),
                    (block, -(-padded // crops) * crops, field.length),
                    "code" if field.packing == "planes" else "dense",
                )
    return layouts


def _cell_layout(spec: StoreSpec, field: Field, padded: int) -> ArrayLayout:
    """Return the array of a field of cells; all of them have the same chunks, of so many cells."""
    crops = min(MIN_CHUNK_CROPS, spec.chunk_crops)
    images = max(1, min(spec.block_images, _CHUNK_CELLS // (crops * spec.labels.num_positions)))
    while spec.block_images % images:
        images -= 1
    return ArrayLayout(
        _id_dtype(spec.num_classes) if field.packing == "cell ids" else field.dtype,
        (spec.num_images, spec.num_crops, field.length),
        (images, crops, field.length),
        (spec.block_images, -(-padded // crops) * crops, field.length),
        "frames" if is_line(spec.grid) else "cells",
    )


def _id_dtype(count: int) -> str:
    """Return the narrowest of u8, u16 and u32 that numbers `count` things from 0."""
    return "uint8" if count <= 2**8 else "uint16" if count <= 2**16 else "uint32"
