"""The copy as tar shards, which fkd and WebDataset read: an image, and beside it its class in a .cls.

A shard is there whole or not at all, so an interrupted run goes on with the first that is missing. Which
images it has follows from their sizes in the source alone.
"""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fkd.errors import ImagesError
from fkd.machine import aside_of
from fkd.orders import PackConfig
from fkd.packing.in_threads import in_threads
from fkd.packing.place import cannot_write, write_copy
from fkd.packing.report import Outcome
from fkd.packing.smaller import Made, make
from fkd.packing.split import Split

CLASSES = "classes.txt"


def pack_to_tar(config: PackConfig, splits: list[Split]) -> Iterator[Outcome]:
    """Yield what became of every image, shard by shard."""
    names = splits[0].images.classes
    if names:
        strange = next((name for name in names if name.split("\n") != [name.strip()]), None)
        if strange is not None:
            raise ImagesError(
                f"the class {strange!r} begins or ends with a space, or has a line break in it, which "
                f"{CLASSES} cannot say; rename it"
            )
        write_copy(os.path.join(config.out, CLASSES), "".join(f"{n}\n" for n in names).encode())
    for split in splits:
        parts = _shards(split, config.shard_bytes)
        for number, rows in enumerate(parts):
            name = f"{split.name or 'images'}-{number:05}-of-{len(parts):05}.tar"
            yield from _shard(config, split, rows, config.out / name)


def _shards(split: Split, shard_bytes: int) -> list[list[int]]:
    """Cut the images, in their order, into shards of about so many bytes of the source."""
    before = split.images.num_bytes.cumsum() - split.images.num_bytes
    number = before // shard_bytes
    return [np.flatnonzero(number == n).tolist() for n in np.unique(number)]


def _shard(config: PackConfig, split: Split, rows: list[int], path: Path) -> Iterator[Outcome]:
    """Write a shard aside and rename it, and yield what becomes of its images."""
    if path.is_file():
        yield from (Outcome(path.stat().st_size // len(rows), found=True) for _ in rows)
        return
    made = in_threads(lambda row: make(config, split, row), rows, config.workers)
    aside, labelled = aside_of(path), set[str]()
    try:
        with aside.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for row, copy in zip(rows, made, strict=True):
                    yield _add(archive, split, row, copy, labelled)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def _add(
    archive: tarfile.TarFile, split: Split, row: int, copy: Made, labelled: set[str]
) -> Outcome:
    """Add an image, and its class where no image of the same name has brought it."""
    if copy.content is None:
        return Outcome(0, bad=copy.bad)
    kept, smaller = split.names(row)
    name = smaller if copy.packed else kept
    _write(archive, name, bytes(copy.content))
    sample = os.path.splitext(name)[0]
    if split.numbers is not None and sample not in labelled:
        _write(archive, f"{sample}.cls", str(split.numbers[row]).encode())
        labelled.add(sample)
    return Outcome(len(copy.content), packed=copy.packed, bad=copy.bad)


def _write(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file that is the same, byte for byte, whenever it is written."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))
