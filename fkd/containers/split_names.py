"""Names of splits, as folders and files have them: "train", "Validation", "imagenet-val-0003.tar"."""

import re
from collections.abc import Sequence
from pathlib import Path

from fkd.errors import ImagesError

_NAMES = {
    "train": "train", "training": "train", "trainval": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "eval": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_WORD = re.compile(r"(?<![A-Za-z])(" + "|".join(_NAMES) + r")(?![A-Za-z])", re.IGNORECASE)


class NoSplitError(ImagesError):
    """Files, or an archive, hold other splits than the one that is asked for."""


def split_of(name: str) -> str | None:
    """Return "train", "val" or "test" for a folder that is named as a split is, else None."""
    return _NAMES.get(name.lower().rstrip("0123456789-_. "))


def split_in(file: str) -> str | None:
    """Return the split that a file's name speaks of, or a folder's above it; None where none does."""
    path = Path(file)
    found = next(filter(None, map(_WORD.search, (path.stem, *reversed(path.parts[:-1])))), None)
    return _NAMES[found[1].lower()] if found else None


def of_split(files: Sequence[str], split: str, where: object) -> list[str]:
    """Return the files of a split, all of them where their names speak of none.

    Raises `NoSplitError` where the files are of several splits, and none of these is asked for.
    """
    splits = {file: split_in(file) for file in files}
    named = {name for name in splits.values() if name is not None}
    if split in named:
        return [file for file, name in splits.items() if name == split]
    if len(named) > 1 or (named and None in splits.values()):
        raise NoSplitError(
            f"{where} holds files of several splits ({', '.join(sorted(named))}) and none named {split}; "
            "name the files, as in 'FOLDER/test-*.tar'"
        )
    return list(files)
