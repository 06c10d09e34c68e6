"""What a path names: a folder, archives, tables, a list of images; or nothing that holds images."""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from glob import glob
from itertools import product
from pathlib import Path
from typing import Literal

from fkd.containers import split_of
from fkd.errors import ImagesError
from fkd.images import EXTENSIONS

# `Path` makes one slash of two: s3://bucket arrives as s3:/bucket. A drive of Windows has one letter.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)

Kind = Literal["folder", "archives", "parquet", "arrow", "list"]

_ENDINGS: dict[str, Kind] = {
    ".tar": "archives",
    ".zip": "archives",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".csv": "list",
    ".tsv": "list",
    ".txt": "list",
    ".jsonl": "list",
    ".ndjson": "list",
}

# Kinds of which a folder may hold many files, and be the data set that they are together.
_SHARDS = (".tar", ".zip", ".parquet", ".arrow")

_PACKED = "a compressed archive", "decompress it to a .tar, or unpack it and name the folder"
_ARCHIVE = "an archive of a kind that fkd does not read", "unpack it, and name the folder"
_DATA = (
    "a data file of a kind that fkd does not read",
    "write its images as files, into a tar, or into parquet",
)
_TABLE = "no list that fkd reads", "write one as .csv with a line path,label for each image"
_IMAGE = "one image", "name the folder that holds the class folders"

_OTHERS = {
    (".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz4"): _PACKED,
    (".7z", ".rar", ".gz", ".bz2", ".xz", ".zst"): _ARCHIVE,
    (".feather", ".tfrecord", ".lmdb", ".mdb", ".rec", ".beton", ".mds", ".lance"): _DATA,
    (".h5", ".hdf5", ".npy", ".npz", ".mat", ".pt", ".pkl", ".sqlite"): _DATA,
    (".json", ".yaml", ".yml", ".xml"): _TABLE,
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"): _IMAGE,
}

_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MAX_FILES = 100_000

# "train-00003-of-00010.parquet": a file that says how many there are.
_OF_MANY = re.compile(r"(.*?)(\d+)(-of-(\d+)(?!\d).*)")


@dataclass(frozen=True)
class Named:
    """What a path names: its kind and, but for a folder, its files.

    `files` are relative to `root`; where `root` itself is the one file, it is "".
    """

    kind: Kind
    root: Path
    files: tuple[str, ...] = ()


def what_is_named(path: Path) -> Named:
    """Return what a path, or a pattern as `shards-{000..146}.tar` or `data/train-*.parquet`, names.

    A folder passes as one, whatever lies in it, where it holds no shards; so does what is not there at
    all. Raises `ImagesError` for an address and for a file of another kind.
    """
    if os.path.isdir(path):
        return _of_folder(path)
    if os.path.isfile(path):
        kind = _ENDINGS.get(path.suffix.lower())
        if kind is None:
            _refuse_file(path)
        return Named(kind or "folder", path, ("",))
    address = _ADDRESS.fullmatch(os.fspath(path))
    if address:
        scheme, rest = address.groups()
        raise ImagesError(
            f"{scheme}://{rest} is an address, and fkd reads images of this machine alone; copy them to "
            "a disk here, or mount them, and name that place"
        )
    if any(sign in os.fspath(path) for sign in "*?{["):
        return _of_pattern(path)
    return Named("folder", path)


def refuse_other_kinds(path: Path) -> None:
    """Raise `ImagesError` where an address, or a file of no kind that holds images, is given."""
    what_is_named(path)


def _refuse_file(path: Path) -> None:
    what, remedy = _other(path.name) or ("", "")
    if what:
        raise ImagesError(f"{path} is {what}; {remedy}")


def _other(name: str) -> tuple[str, str] | None:
    return next((kind for ends, kind in _OTHERS.items() if name.lower().endswith(ends)), None)


def _of_folder(path: Path) -> Named:
    """Return the shards in a folder, or in its folder `data`; a folder of images where there are none."""
    for folder in (path, path / "data"):
        try:
            with os.scandir(folder) as entries:
                shards = sorted(e.name for e in entries if _is_shard(e))
        except OSError:  # whoever lists the images says so
            continue
        endings = {os.path.splitext(name)[1].lower() for name in shards}
        if not shards or any(_is_unpacked(inner) for inner in folders_in(folder)):
            continue
        if len(endings) > 1:
            raise ImagesError(
                f"{folder} holds {' and '.join(sorted(endings))} files; name those that are the data "
                f"set, as in '{folder}/*{min(endings)}'"
            )
        _refuse_gaps(folder, shards)
        return Named(_ENDINGS[endings.pop()], folder, tuple(shards))
    return Named("folder", path)


def _is_unpacked(folder: Path) -> bool:
    """Say whether a folder beside archives holds what was in them: it is a class, or a split."""
    if holds_images(folder):
        return True
    return split_of(folder.name) == "train" and any(map(holds_images, folders_in(folder)))


def _refuse_gaps(folder: Path, names: Iterable[str]) -> None:
    """Refuse a folder without some of the files that the others say there are: it is being written."""
    there: dict[tuple[str, str, int], int] = Counter()
    for name in names:
        if numbered := _OF_MANY.fullmatch(name):
            before, _, after, total = numbered.groups()
            there[before, after, int(total)] += 1
    for (before, after, total), count in there.items():
        if count < total:
            raise ImagesError(
                f"{folder} holds {count:,} of {total:,} files {before}*{after}; bring the others, or "
                f"name the pattern '{folder / before}*{after}' to take these"
            )


def _is_shard(entry: os.DirEntry[str]) -> bool:
    named = entry.name.lower().endswith(_SHARDS) and not entry.name.startswith(".")
    return named and not entry.is_dir()  # a link that leads nowhere is a shard that is missing


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted; hidden ones are left out."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    except OSError:  # whoever lists the images says so
        return []
    return [folder / name for name in sorted(names)]


def holds_images(folder: Path) -> bool:
    """Say whether images lie in a folder itself, as they do in a class folder."""
    try:
        with os.scandir(folder) as entries:
            return any(
                e.name.lower().endswith(EXTENSIONS) and not e.name.startswith(".") for e in entries
            )
    except OSError:
        return False


def _of_pattern(path: Path) -> Named:
    """Return the files that a pattern, a shell's or WebDataset's, names."""
    names, missing = set[str](), list[str]()
    for text in _unbraced(os.fspath(path)):
        found = [text] if os.path.isfile(text) else glob(text)
        missing += [] if found else [text]
        names.update(found)
    matched = [Path(os.path.abspath(name)) for name in sorted(names) if not os.path.isdir(name)]
    if not matched:
        raise ImagesError(f"no file has a name as {path}; mend the pattern, or name a folder")
    if missing:
        raise ImagesError(
            f"{missing[0]} is missing, which {path} names; bring it back, or mend the pattern"
        )
    kinds = {_ENDINGS.get(file.suffix.lower()) for file in matched}
    kind = kinds.pop()
    if kinds or kind is None or kind == "list":
        raise ImagesError(
            f"{path} names files that are not shards of one kind ({', '.join(_SHARDS)}); name the shards "
            "of one data set"
        )
    root = Path(os.path.commonpath([file.parent for file in matched]))
    return Named(kind, root, tuple(os.fspath(file.relative_to(root)) for file in matched))


def _unbraced(text: str) -> list[str]:
    """Return the patterns that `{000..146}` in a text stands for."""
    parts = _BRACES.split(text)
    numbers = [
        [str(n).zfill(len(low)) for n in range(int(low), int(high) + 1)]
        for low, high in zip(parts[1::3], parts[2::3], strict=True)
        if int(high) - int(low) < _MAX_FILES
    ]
    if math.prod(len(few) for few in numbers) > _MAX_FILES or len(numbers) < len(parts) // 3:
        raise ImagesError(f"{text} stands for too many files; name fewer")
    return [
        parts[0] + "".join(n + after for n, after in zip(chosen, parts[3::3], strict=True))
        for chosen in product(*numbers)
    ]


def what_is_in(names: Iterable[str]) -> str:
    """Say what a folder without class folders or images holds: files of a data set, or nothing."""
    files = [name for name in names if not name.startswith(".")]
    if not files:
        return "it is empty"
    endings = Counter(os.path.splitext(name)[1].lower() for name in files)
    ending, count = endings.most_common(1)[0]
    what, remedy = _other(ending) or ("", "")
    if what and what != _IMAGE[0]:
        return f"it holds files in {ending} ({count:,}), {what.split(' of a kind')[0]}: {remedy}"
    return "it holds files but no class folders"
