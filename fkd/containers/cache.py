"""The index of a container is made once, kept in a cache folder, and used while its files stay."""

import fcntl
import hashlib
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from fkd.containers.contents import CODECS, Index, Pieces
from fkd.images import Keys
from fkd.machine import cache_folder, write_aside
from fkd.progress import note_once

# A later way to make an index gets another number; an index of another number is made anew.
_VERSION = 2

_OF_IMAGES = ("labels", "num_bytes", "piece", "start")
_OF_PIECES = tuple(field.name for field in fields(Pieces))


def kept_index(
    root: Path, files: Sequence[str], settings: Sequence[object], make: Callable[[], Index]
) -> Index:
    """Return the index of a container's files, from the cache or newly made.

    `files` are relative to `root`, `settings` are what else the index depends on. An index is used as
    long as every file has the size and the time of change that it had. Where no cache can be written, the
    index is made each time.
    """
    about = {
        "version": _VERSION,
        "settings": [str(s) for s in settings],
        "files": _stamps(root, files),
    }
    name = hashlib.sha256(
        json.dumps([os.path.realpath(root), about["settings"]]).encode()
    ).hexdigest()
    path = cache_folder() / "indexes" / f"{name[:32]}.npz"
    index = _read(path, about)
    if index is not None:
        return index
    with _alone(path):
        index = _read(path, about)  # another process may have made it meanwhile
        if index is None:
            index = make()
            _write(path, about, index)
    return index


def _stamps(root: Path, files: Sequence[str]) -> list[list[Any]]:
    stamps = []
    for file in files:
        status = os.stat(root / file if file else root)
        stamps.append([file, status.st_size, status.st_mtime_ns])
    return stamps


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process make an index while others wait for it, as far as the file system has locks."""
    handle = None
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _write(path: Path, about: dict[str, Any], index: Index) -> None:
    about = about | {"classes": list(index.classes), "left_out": dict(index.left_out)}
    arrays: dict[str, Any] = {
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
        "keys": index.keys.text,
        **{name: getattr(index, name) for name in _OF_IMAGES},
        **{f"of_{name}": getattr(index.pieces, name) for name in _OF_PIECES},
    }
    try:
        write_aside(path, lambda file: np.savez(file, **arrays)).replace(path)
    except OSError as error:
        note_once(
            f"warning: the index of the images cannot be kept ({error}); it will be made each time "
            "(FKD_CACHE names another folder for it)"
        )


def _read(path: Path, about: dict[str, Any]) -> Index | None:
    """Read an index, whose parts have checksums; None where there is none of these files."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            kept = json.loads(content["about"].tobytes())
            if any(kept[name] != about[name] for name in ("version", "settings", "files")):
                return None
            arrays = {name: content[name] for name in content.files}
        files = tuple(name for name, _, _ in kept["files"])
        return _build(files, tuple(kept["classes"]), kept["left_out"], arrays)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, MemoryError):
        return None
    except (RuntimeError, zipfile.BadZipFile, zlib.error, struct.error):
        return None


def _build(
    files: tuple[str, ...], classes: tuple[str, ...], left_out: Any, arrays: dict[str, Any]
) -> Index | None:
    """Build an index of what was read, None where its parts do not belong together."""
    keys, labels, piece = Keys(arrays["keys"]), arrays["labels"], arrays["piece"]
    pieces = Pieces(*(arrays[f"of_{name}"] for name in _OF_PIECES))
    if not len(keys) or any(len(arrays[name]) != len(keys) for name in _OF_IMAGES):
        return None
    within = (
        0 <= piece.min() <= piece.max() < len(pieces.file)
        and -1 <= labels.min() <= labels.max() < max(1, len(classes))
        and 0 <= pieces.file.min() <= pieces.file.max() < len(files)
        and pieces.codec.max() < len(CODECS)
        and min(arrays["num_bytes"].min(), arrays["start"].min(), pieces.offset.min()) >= 0
    )
    if not within:
        return None
    numbers = arrays["num_bytes"], piece, arrays["start"]
    return Index(files, keys, labels, classes, *numbers, pieces, left_out)
