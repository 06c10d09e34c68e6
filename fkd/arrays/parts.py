"""Which chunks of a shard a reading touches: of files that are far away no others are fetched."""

from collections.abc import Iterator, Mapping

import numpy as np

from fkd.format import ArrayLayout

Selection = tuple[slice, ...]

# Arrays of a block that no pass reads.
_OF_IMAGES = ("status", "content_hash", "mask_hash", "text_hash", "fidelity", "image_hash")


def touched(layout: ArrayLayout, number: int, selection: Selection) -> list[int] | None:
    """Return which chunks of a block's shard a selection of the array touches, by their numbers.

    Chunks are numbered in C order, as in a shard's index. None for an array without shards, and where
    nothing is selected: all of a file is meant.
    """
    if layout.shards is None or not selection:
        return None
    runs = []
    for axis, (length, each) in enumerate(zip(layout.shards, layout.chunks, strict=True)):
        whole = slice(None)
        start, stop, _ = (selection[axis] if axis < len(selection) else whole).indices(
            layout.shape[axis]
        )
        begin = number * length if axis == 0 else 0
        first, last = max(start - begin, 0), min(stop - begin, length)
        runs.append(range(first // each, -(-last // each)))
    grid = [length // each for length, each in zip(layout.shards, layout.chunks, strict=True)]
    numbers = np.ravel_multi_index(np.ix_(*(np.array(run, np.intp) for run in runs)), grid)
    return [int(chunk) for chunk in numbers.ravel()]


def within(layout: ArrayLayout, number: int) -> list[int]:
    """Return which chunks of a block's shard hold a part of the array, by their numbers."""
    return touched(layout, number, (slice(None),)) or []


def needed(
    layouts: Mapping[str, ArrayLayout], blocks: range, images: range, crops: range
) -> Iterator[tuple[str, range, Selection]]:
    """Yield the arrays that a run of crops needs of some blocks, and what of each."""
    rows = slice(images.start, images.stop)
    for name, layout in layouts.items():
        if layout.by_block and name not in _OF_IMAGES:
            # Most images need no more than the first columns of their palettes.
            columns = slice(0, 1) if name == "palette" else slice(crops.start, crops.stop)
            yield name, blocks, (rows, columns) if layout.shards else ()
