"""The folder that `fkd show` writes: where it may be, and files in it that are whole."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from fkd.errors import ConfigError
from fkd.machine import write_whole

PAGE = "index.html"
_MARKED = 1000  # bytes from a page's beginning on

# What a page of other settings may have left behind.
_OURS = re.compile(
    r"(sample-\d+|top-probability|entropy|kept-mass|against|classes|least-sure|size)\.png"
)


def default_folder(store: Path) -> Path:
    """Return where a store is shown unless the user says: labels.zarr in labels-show."""
    return Path(Path(os.path.abspath(store)).name.removesuffix(".zarr") + "-show")


def check_folder(out: Path, stores: Sequence[Path], images: Path, mark: str) -> None:
    """Refuse a place where a page would do harm; a folder may be empty, or hold one with our `mark`."""
    real = Path(os.path.realpath(out))
    for folder, what in (*((store, "the store") for store in stores), (images, "the images")):
        if real.is_relative_to(os.path.realpath(folder)):
            raise ConfigError(f"--out {out} lies in {what} {folder}; name a folder apart from it")
    try:
        empty = not os.path.lexists(out) or not any(out.iterdir())
    except OSError as error:
        raise ConfigError(
            f"--out {out} is no folder that can be read ({error}); name another"
        ) from error
    if not empty and not _is_marked(out / PAGE, mark):
        raise ConfigError(
            f"--out {out} holds files, but no {PAGE} of `fkd show`, so it is left alone; name another "
            "folder"
        )


def _is_marked(page: Path, mark: str) -> bool:
    try:
        with page.open("rb") as file:
            return mark.encode() in file.read(_MARKED)
    except OSError:
        return False


def write_folder(out: Path, page: bytes, pictures: Mapping[str, bytes]) -> Path:
    """Write the pictures and then the page, each aside first; return the page's path."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in pictures.items():
            write_whole(out / name, content)
        write_whole(out / PAGE, page)
        for entry in out.iterdir():
            if _OURS.fullmatch(entry.name) and entry.name not in pictures:
                entry.unlink()
    except OSError as error:
        raise ConfigError(
            f"--out {out} cannot be written ({error}); name another folder"
        ) from error
    return out / PAGE
