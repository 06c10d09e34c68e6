"""Which arrays a spec implies: their types, chunks and shards. Writer and reader share this room.

Legend: N images, M stored crops, K kept classes, C classes; a block is a run of images that is
labelled and committed together, one shard per array.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fkd.config import is_line
from fkd.errors import ConfigError
from fkd.format.packing_cells import expects
from fkd.format.spec import StoreSpec
from fkd.labels import NUM_MEASURES, Field

# Crops in one inner chunk: large enough for the entropy coder, small enough for one pass of m = 4 on
# a full-sized block to read nothing else.
_CHUNK_VIEWS = 16_384
_MIN_CHUNK_CROPS = 4
_MAX_BLOCK = 4096
_MIN_BLOCK = 256
_MAX_BLOCK_BYTES = 256 * 2**20
_FULL_CHUNK_BYTES = 4 * 2**20
# Who reads one view unpacks all cells of its chunk; twice as many save 1 %. Maps of 2^i + 1 rows and
# columns get as many images as those of 2^i.
_CHUNK_CELLS = 600_000

# What a store can make its reader allocate at once, above what the reader asks for.
_MAX_CHUNK_BYTES = 2**28
_MAX_PALETTE_BYTES = 2**31
_MAX_CROP_BYTES = 2**29

# Columns of the palettes that are read together: most images have fewer classes than this.
_PALETTE_TIER = 256

VIEW_BYTES = 9  # box and flip of a crop, in memory
SEAL_BYTES = 32  # SHA-256 over the block's shards

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


def plan_layout(spec: StoreSpec, block_images: int | None = None) -> StoreSpec:
    """Return the spec with its block and chunk sizes set; without `block_images` that size is chosen too.

    A block has 4096 images, fewer where the data set is small (so that a stop loses little) or
    the labels are dense (so that a block fits in memory). Raises `ConfigError` where the blocks asked
    for are too large to be read.
    """
    block = _usual_block(spec) if block_images is None else block_images
    while True:
        block = min(block, spec.num_images)
        planned = replace(spec, block_images=block, chunk_crops=_chunk_crops(spec, block))
        excess = oversize(planned)
        if excess is None:
            return planned
        if block_images is not None or block == 1:
            remedy = "choose a smaller one" if block > 1 else "keep less of a view"
            raise ConfigError(f"--block {block} gives {spec.kept_words} {excess}; {remedy}")
        block //= 2


def _usual_block(spec: StoreSpec) -> int:
    """Return the images of a block, as far as the data set and dense labels decide it."""
    block = _MIN_BLOCK
    while block < _MAX_BLOCK and block * 64 < spec.num_images:
        block *= 2
    if spec.dense_bytes:
        image_bytes = spec.num_crops * (spec.dense_bytes + VIEW_BYTES)
        block = max(1, min(block, _MAX_BLOCK_BYTES // image_bytes))
    return block


def _chunk_crops(spec: StoreSpec, block: int) -> int:
    """Return the crops of a chunk, for blocks of so many images."""
    if spec.labels.keeps_all or spec.grid:
        return min(_MIN_CHUNK_CROPS, spec.num_crops)
    # Of a single block a pass is soon read, and fewer tables of codes save more.
    views = _CHUNK_VIEWS if block < spec.num_images else 4 * _CHUNK_VIEWS
    at_most = max(_MIN_CHUNK_CROPS, views // block)
    return min(_even_part(spec.num_crops, at_most), spec.num_crops)


def _even_part(num_crops: int, at_most: int) -> int:
    """Cut M crops into equal chunks of at most about `at_most`, a multiple of 4."""
    parts = -(-num_crops // at_most)
    each = -(-num_crops // parts)
    return -(-each // _MIN_CHUNK_CROPS) * _MIN_CHUNK_CROPS


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


def oversize(spec: StoreSpec) -> str | None:
    """Name what would have to be in memory at once and is too large for that, or return None.

    A chunk of boxes is drawn as a whole too, where it is not stored.
    """
    layouts = _view_layouts(spec) | _stored_mix_layouts(spec) | _label_layouts(spec)
    for name, layout in layouts.items():
        if layout.chunk_bytes > _MAX_CHUNK_BYTES:
            return f"chunks of '{name}' of {layout.chunk_bytes:,} bytes"
    # Fewer than one crop of all images of a block are not always read.
    of_crop = spec.block_images * spec.labels.num_bytes
    if spec.grid and of_crop > _MAX_CROP_BYTES:
        return f"labels of {of_crop:,} bytes for each crop of a block"
    if "palette" in layouts:
        size = spec.block_images * layouts["palette"].row_bytes
        if size > _MAX_PALETTE_BYTES:
            return f"palettes of {size:,} bytes a block"
    if spec.grid and "index" in layouts and expects(spec.grid, spec.num_classes):
        views = math.prod(layouts["index"].chunks[:2])
        size = views * spec.labels.num_positions * spec.num_classes
        if size > _MAX_CHUNK_BYTES:
            return f"classes at {size:,} places of a chunk"
    return None


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
                crops = chunk if field.packing == "planes" else min(_MIN_CHUNK_CROPS, chunk)
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
    crops = min(_MIN_CHUNK_CROPS, spec.chunk_crops)
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
