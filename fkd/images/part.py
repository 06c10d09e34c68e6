"""A part of the images: a share of each class, listed images, or some classes. Keys alone decide.

So the same images are chosen of a folder that is labelled and of the store that is made of it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from fkd.config import Part
from fkd.errors import ConfigError
from fkd.images.class_names import match_names
from fkd.images.image_list import ImageList
from fkd.machine import read_text

Bools = NDArray[np.bool_]

_SHOWN = 3  # keys that a message lists


def take_part(part: Part, images: ImageList) -> ImageList:
    """Return the list of the images of a part; the classes stay, unless `part` names some of them.

    Raises `ConfigError` as `in_part` does.
    """
    if part.takes_all:
        return images
    chosen = in_part(part, images.paths, images.targets, images.classes, str(images.root))
    taken = images.take(np.flatnonzero(chosen))
    if part.classes is None:
        return taken
    return taken.of_classes(_named_classes(part.classes, images.classes, str(images.root)))


def in_part(
    part: Part,
    keys: Sequence[str],
    targets: NDArray[np.int64] | None,
    classes: Sequence[str],
    where: str,
) -> Bools:
    """Say which of N images are in a part, bool [N]; `where` says in messages whose images they are.

    `targets` int64 [N] index `classes`; None, or -1 for all, where images have no classes. Raises
    `ConfigError` for a file that cannot be read, a line of it that names no image or class, and a part
    that has no image.
    """
    labels = np.full(len(keys), -1) if targets is None else targets
    chosen = np.ones(len(keys), np.bool_)
    if part.classes is not None:
        if (labels < 0).all():
            raise ConfigError(
                f"--classes {part.classes}: the images of {where} have no classes; leave it out"
            )
        chosen &= (labels >= 0) & _named_classes(part.classes, classes, where)[labels]
    if part.share is not None:
        chosen &= _share(keys, labels, part.share)
    if part.listed is not None:
        chosen &= _listed(part.listed, keys, where)
    if not chosen.any():
        raise ConfigError(f"{part} leaves no image of {where}")
    return chosen


def require_files(part: Part) -> None:
    """Raise `ConfigError` for a file of a part that cannot be read."""
    if part.listed is not None:
        _numbered_lines("--subset", part.listed)
    if part.classes is not None:
        _numbered_lines("--classes", part.classes)


def _share(keys: Sequence[str], labels: NDArray[np.int64], share: float) -> Bools:
    """Choose round(n · share) of the n images of each class, one at least: the lowest hashes of keys.

    A smaller share of the same images is a part of a larger one. Images of class -1 are one class.
    """
    encoded = (key.encode("utf-8", "surrogateescape") for key in keys)
    hashes = np.fromiter(map(xxhash.xxh3_64_intdigest, encoded), np.uint64, len(keys))
    order = np.lexsort((hashes, labels))
    counts = np.bincount(labels + 1)
    wanted = np.where(counts > 0, np.maximum(1, np.floor(counts * share + 0.5)), 0)
    before = counts.cumsum() - counts
    group = labels[order] + 1
    chosen = np.zeros(len(keys), np.bool_)
    chosen[order] = np.arange(len(keys)) - before[group] < wanted[group]
    return chosen


def _listed(path: Path, keys: Sequence[str], where: str) -> Bools:
    """Choose the images that the lines of a file name.

    A line is a key, or a path that ends in one (`train/n01440764/a.jpg`), or a file's name alone where
    only one image has it.
    """
    lines = _numbered_lines("--subset", path)
    spellings = {line: _tails(line) for line in lines}
    wanted = {tail for tails in spellings.values() for tail in tails}
    by_key: dict[str, int] = {}
    by_name: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        if key in wanted:
            by_key[key] = row
        name = key.rpartition("/")[2]
        if name in lines:
            by_name.setdefault(name, []).append(row)
    chosen = np.zeros(len(keys), np.bool_)
    for line, number in lines.items():
        found = next((by_key[tail] for tail in spellings[line] if tail in by_key), None)
        if found is None:
            found = _only(line, f"--subset {path}, line {number}", by_name, keys, where)
        chosen[found] = True
    return chosen


def _only(
    line: str,
    at: str,
    by_name: Mapping[str, Sequence[int]],
    keys: Sequence[str],
    where: str,
) -> int:
    """Return the one image of a file name; refuse a line that is the name of none, or of several."""
    rows = by_name.get(line, ())
    if len(rows) == 1:
        return rows[0]
    if not rows:
        raise ConfigError(
            f"{at}: {line} is no image of {where}; give one key a line, as {keys[0]}, or a file's name "
            "alone"
        )
    few = ", ".join(keys[row] for row in rows[:_SHOWN]) + (" …" if len(rows) > _SHOWN else "")
    raise ConfigError(
        f"{at}: {line} is the name of {len(rows):,} images ({few}); give the whole key"
    )


def _tails(line: str) -> list[str]:
    """Return a path and what is left of it without its first folders, the longest first."""
    parts = line.split("/")
    return ["/".join(parts[first:]) for first in range(len(parts))]


def _named_classes(path: Path, classes: Sequence[str], where: str) -> Bools:
    """Say which classes the lines of a file name, bool [classes]."""
    lines = _numbered_lines("--classes", path)
    chosen = np.zeros(len(classes), np.bool_)
    for (line, number), row in zip(
        lines.items(), match_names(list(lines), list(classes)), strict=True
    ):
        if row is None:
            raise ConfigError(
                f"--classes {path}, line {number}: {line} is no class of {where}; give one class name a "
                f"line, as {classes[0]}"
            )
        chosen[row] = True
    return chosen


def _numbered_lines(flag: str, path: Path) -> dict[str, int]:
    """Return the lines of a file that are not blank, with their numbers from 1."""
    share = ", or a share such as 10%" if flag == "--subset" else ""
    what = "image" if flag == "--subset" else "class name"
    remedy = f"give a text file with one {what} a line{share}"
    text = read_text(path, f"{flag} {path}", remedy, ConfigError, undecodable="surrogateescape")
    lines = {line.strip(): number for number, line in enumerate(text.split("\n"), 1)}
    lines.pop("", None)
    if not lines:
        raise ConfigError(f"{flag} {path} is empty; give a text file with one line for each")
    return lines
