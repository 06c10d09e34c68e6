"""Files that are whole or not there: written aside, forced to disk, and renamed."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def write_whole(target: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file aside and rename it: a reader finds the old one or the new one, whole.

    A file that is not `durable` may be lost or empty after a power cut, and costs no wait for the disk.
    """
    aside = write_aside(target, lambda file: file.write(content), durable=durable)
    try:
        aside.replace(target)
    except OSError:
        with suppress(OSError):
            aside.unlink()
        raise


def write_aside(target: Path, write: Callable[[BinaryIO], object], *, durable: bool = True) -> Path:
    """Let `write` fill a file beside `target`, and return its path for the caller to rename."""
    aside = aside_of(target)
    try:
        with aside.open("wb") as file:
            write(file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
    except Exception:
        with suppress(OSError):  # on a full disk, half a file takes room that others need
            aside.unlink()
        raise
    return aside


def aside_of(target: Path) -> Path:
    """Return the name under which a file is written; a later try writes to the same one."""
    return target.with_name(f".{target.name}.part")


def sync(files: Iterable[Path], root: Path) -> None:
    """Force files, and the folders from `root` on that name them, to disk."""
    files = list(files)
    folders = {folder for file in files for folder in file.parents if folder.is_relative_to(root)}
    for path in [*files, *folders, root]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
