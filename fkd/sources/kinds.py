"""What is given in the place of an image folder, and what to do with it: fkd reads folders alone."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from fkd.errors import ImagesError

# `Path` makes one slash of two: s3://bucket arrives as s3:/bucket. A drive of Windows has one letter.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)

_ARCHIVE = "an archive", "unpack it, and name the folder that holds its class folders"
_DATA = "a data file", "write its images as files into one folder per class, and name their folder"
_TABLE = "a list", "link its images into one folder per class (`ln -s`), and name their folder"
_IMAGE = "one image", "name the folder that holds the class folders"

_KINDS = {
    (".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"): _ARCHIVE,
    (".zip", ".7z", ".rar", ".gz"): _ARCHIVE,
    (".parquet", ".arrow", ".feather", ".tfrecord", ".lmdb", ".mdb", ".rec", ".beton"): _DATA,
    (".h5", ".hdf5", ".npy", ".npz", ".mat", ".pt", ".pkl", ".sqlite"): _DATA,
    (".csv", ".tsv", ".json", ".jsonl", ".txt", ".yaml", ".yml", ".xml"): _TABLE,
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"): _IMAGE,
}


def refuse_other_kinds(path: Path) -> None:
    """Raise `ImagesError` where an address or a file is given in the place of an image folder.

    A folder passes, whatever its name is, and so does what is not there at all.
    """
    if os.path.isdir(path):
        return
    address = _ADDRESS.fullmatch(os.fspath(path))
    if address:
        scheme, rest = address.groups()
        raise ImagesError(
            f"{scheme}://{rest} is an address, and fkd reads image folders of this machine alone; copy "
            "the images to a disk here, or mount them, and name that folder"
        )
    what, remedy = _kind(path.name) or ("", "")
    if what and os.path.isfile(path):
        raise ImagesError(f"{path} is not a folder but {what}, which fkd does not read; {remedy}")


def _kind(name: str) -> tuple[str, str] | None:
    return next((kind for ends, kind in _KINDS.items() if name.lower().endswith(ends)), None)


def what_is_in(names: Iterable[str]) -> str:
    """Say what a folder without class folders or images holds: shards of a data set, or nothing."""
    files = [name for name in names if not name.startswith(".")]
    if not files:
        return "it is empty"
    endings = Counter(os.path.splitext(name)[1].lower() for name in files)
    ending, count = endings.most_common(1)[0]
    what, remedy = _kind(ending) or ("", "")
    if what in ("an archive", "a data file"):
        return f"it holds files in {ending} ({count:,}), which fkd does not read: {remedy}"
    return "it holds files but no class folders"
