"""The copy as a folder of files: an image that has its copy is not made again."""

import os
from collections.abc import Iterator
from contextlib import suppress

from fkd.orders import PackConfig
from fkd.packing.in_threads import in_threads
from fkd.packing.place import write_copy
from fkd.packing.report import Outcome
from fkd.packing.smaller import make
from fkd.packing.split import Split


def pack_to_folder(config: PackConfig, splits: list[Split]) -> Iterator[Outcome]:
    """Yield what became of every image; first those whose copies were there already."""
    todo: list[tuple[Split, int]] = []
    for split in splits:
        for index in range(len(split.images)):
            size = _size_of_copies(config, split, index)
            if size:
                yield Outcome(size, found=True)
            else:
                todo.append((split, index))
    yield from in_threads(lambda work: _pack_one(config, *work), todo, config.workers)


def _pack_one(config: PackConfig, split: Split, index: int) -> Outcome:
    made, (kept, smaller) = make(config, split, index), split.paths(config.out, index)
    files = {
        split.mask_path(config.out, index): made.mask,
        smaller if made.packed else kept: made.content,
    }
    written = [write_copy(path, bytes(what)) for path, what in files.items() if what is not None]
    return Outcome(sum(written), packed=made.packed, bad=made.bad)


def _size_of_copies(config: PackConfig, split: Split, index: int) -> int:
    """Return the size of the copies of an image and its mask, 0 where one of them is not there whole."""
    size = _size_of_copy(*split.paths(config.out, index))
    if not size or split.masks is None:
        return size
    of_mask = _size_of_copy(split.mask_path(config.out, index))
    return of_mask and size + of_mask


def _size_of_copy(*paths: str) -> int:
    """Return the size of the first file that is there, 0 where a power cut left all of them empty."""
    for path in paths:
        with suppress(OSError):
            if size := os.path.getsize(path):
                return size
    return 0
