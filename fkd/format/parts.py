"""Which chunks of a shard a reading touches: of files that are far away no others are fetched."""

import numpy as np

from fkd.format.layout import ArrayLayout

Selection = tuple[slice, ...]


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
