"""The copy as a folder of files: an image that has its copy is not made again."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

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
            size = _size_of_copy([_path(config, split, name) for name in split.names(index)])
            if size:
                yield Outcome(size, found=True)
            else:
                todo.append((split, index))
    yield from in_threads(lambda work: _pack_one(config, *work), todo, config.workers)


def _pack_one(config: PackConfig, split: Split, index: int) -> Outcome:
    made, (kept, smaller) = make(config, split.images, index), split.names(index)
    outcome = Outcome(0, packed=made.packed, bad=made.bad)
    if made.content is None:
        return outcome
    path = _path(config, split, smaller if made.packed else kept)
    return replace(outcome, num_bytes=write_copy(path, bytes(made.content)))


def _path(config: PackConfig, split: Split, name: str) -> str:
    return os.path.join(config.out, split.name, name)


def _size_of_copy(paths: list[str]) -> int:
    """Return the size of an image's copy, 0 where there is none or a power cut left it empty."""
    for path in paths:
        with suppress(OSError):
            if size := os.path.getsize(path):
                return size
    return 0
