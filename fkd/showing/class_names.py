"""Names of classes to be read by people, where the folders have ids: `fkd show --class-names`."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fkd.errors import ConfigError

_GAP = re.compile(r"\s+")


def read_class_names(path: Path, folders: Sequence[str]) -> tuple[str, ...]:
    """Return a name for each class of a store, whose own names are `folders`, from a text file.

    A line has a folder and its name, apart by a tab or by spaces, and there may be more folders than the
    store has; or lines are names alone, one for each class in order. Of synonyms with commas between
    (`tench, Tinca tinca`) the first is taken, where no other class has it too; classes of the same name
    get their folders behind it. Raises `ConfigError` for a file that does not name every class.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        missing = isinstance(error, FileNotFoundError)
        why = "no such file" if missing else f"cannot be read ({error})"
        raise ConfigError(
            f"--class-names {path}: {why}; give a text file with one name per class"
        ) from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _told_apart(_names(path, lines, folders), folders)


def _names(path: Path, lines: Sequence[str], folders: Sequence[str]) -> list[str]:
    by_folder = _by_folder(lines, set(folders))
    unnamed = [folder for folder in folders if folder not in by_folder]
    if not unnamed:
        return [by_folder[folder] for folder in folders]
    if len(lines) == len(folders) and len(by_folder) < len(folders) / 2:
        return list(lines)
    if by_folder:
        raise ConfigError(
            f"--class-names {path} has no name for {len(unnamed):,} of {len(folders):,} classes: "
            f"{', '.join(unnamed[:3])}{' …' if len(unnamed) > 3 else ''}; add a line of folder and name"
        )
    raise ConfigError(
        f"--class-names {path} has {len(lines):,} lines, the store has {len(folders):,} classes; give a "
        "name per class, in order, or lines of folder and name"
    )


def _by_folder(lines: Sequence[str], folders: set[str]) -> dict[str, str]:
    """Return names by folder, of the lines that begin with a folder of the store; it may hold spaces."""
    named = {}
    for line in lines:
        gaps = [(line[: gap.start()], line[gap.end() :]) for gap in _GAP.finditer(line)]
        for folder, name in reversed(gaps):
            if folder in folders:
                named[folder] = name
                break
    return named


def _told_apart(names: Sequence[str], folders: Sequence[str]) -> tuple[str, ...]:
    first = [name.split(", ")[0].strip() or name for name in names]
    times = Counter(first)
    short = [head if times[head] == 1 else name for head, name in zip(first, names, strict=True)]
    times = Counter(short)
    return tuple(
        name if times[name] == 1 else f"{name} ({folder})"
        for name, folder in zip(short, folders, strict=True)
    )
