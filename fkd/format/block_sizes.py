"""How many images a block has and how many crops a chunk: as many as a reader can have in memory."""

import math
from dataclasses import replace

from fkd.errors import ConfigError
from fkd.format.layout import MIN_CHUNK_CROPS, VIEW_BYTES, crop_layouts, expects
from fkd.format.spec import StoreSpec

# Crops in one inner chunk: large enough for the entropy coder, small enough for one pass of m = 4 on
# a full-sized block to read nothing else.
_CHUNK_VIEWS = 16_384
_MAX_BLOCK = 4096
_MIN_BLOCK = 256
_MAX_BLOCK_BYTES = 256 * 2**20

# What a store can make its reader allocate at once, above what the reader asks for.
_MAX_CHUNK_BYTES = 2**28
_MAX_PALETTE_BYTES = 2**31
_MAX_CROP_BYTES = 2**29


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
        return min(MIN_CHUNK_CROPS, spec.num_crops)
    # Of a single block a pass is soon read, and fewer tables of codes save more.
    views = _CHUNK_VIEWS if block < spec.num_images else 4 * _CHUNK_VIEWS
    at_most = max(MIN_CHUNK_CROPS, views // block)
    return min(_even_part(spec.num_crops, at_most), spec.num_crops)


def _even_part(num_crops: int, at_most: int) -> int:
    """Cut M crops into equal chunks of at most about `at_most`, a multiple of 4."""
    parts = -(-num_crops // at_most)
    each = -(-num_crops // parts)
    return -(-each // MIN_CHUNK_CROPS) * MIN_CHUNK_CROPS


def oversize(spec: StoreSpec) -> str | None:
    """Name what would have to be in memory at once and is too large for that, or return None.

    A chunk of boxes is drawn as a whole too, where it is not stored.
    """
    layouts = crop_layouts(spec)
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
