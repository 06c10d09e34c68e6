"""The index of tar and zip archives: folders that were packed, shards of samples, ILSVRC's archives."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkd.archives.members import Gathered, sample_labels
from fkd.archives.tar import scan_tar
from fkd.archives.zip import scan_zip
from fkd.containers import (
    Index,
    NoSplitError,
    OpenFiles,
    make_index,
    name_classes,
    number_classes,
    split_of,
)
from fkd.errors import ImagesError
from fkd.machine import refuse_utf16
from fkd.progress import progress

SCANS = {".tar": scan_tar, ".zip": scan_zip}

# Files beside archives that name the classes of numbered samples, one a line in order.
CLASS_FILES = ("classes.txt", "classnames.txt", "class_names.txt")

# An archive of one class of ImageNet has the class's name.
_WNID = re.compile(r"n\d{8}")


def index_archives(
    root: Path,
    files: Sequence[str],
    *,
    split: str = "train",
    unlabelled: bool = False,
    listed: Callable[[], Mapping[str, str]] | None = None,
) -> Index:
    """Index archives, whose paths are relative to `root`; one that is `root` itself is "".

    Of an archive that holds several splits, `split` is taken. With `unlabelled`, images have no classes.
    `listed` returns the class of each image by its file's name, where a list beside archives of images in
    no folder says it.
    Raises `ImagesError` for archives that are damaged, and for images without a class.
    """
    opened = OpenFiles(root, tuple(files))
    found = Gathered()
    for number, path in enumerate(progress(opened.paths, "index", unit="file", delay=1)):
        found.add(
            path, number, SCANS[Path(path).suffix.lower()](Path(path), number), opened.read_all
        )
    if not found.names:
        raise ImagesError(f"{root} holds no image in its archives; name archives that do")
    texts: list[str] | None = None
    flat = False
    if unlabelled and any("/" not in name for name in found.names):
        rows, keys = list(range(len(found.names))), found.names
    elif unlabelled:
        rows, keys = _of_split(found.names, split, root)
    elif found.labels:
        pairs = list(sample_labels(found, opened.paths))
        rows, texts = [row for row, _ in pairs], [text for _, text in pairs]
        keys = [found.names[row] for row in rows]
    else:
        rows, keys = _of_split(_below_archives(found, opened.paths), split, root)
        flat = any("/" not in key for key in keys)
        of_files = listed() if listed is not None and flat else {}
        texts = [_class_of(key, of_files, root) for key in keys]
    _refuse_twins(keys, [opened.paths[found.file[row]] for row in rows])
    labels: NDArray[np.int64] = np.full(len(keys), -1)
    classes: tuple[str, ...] = ()
    if texts is not None and (flat or found.labels):
        labels, classes = number_classes(texts, _class_names(root), root)
    elif texts is not None:  # folders are names, though all be numbers
        labels, classes = name_classes(texts, root)
    places = found.places.take(np.array(rows))
    return make_index(files, keys, labels, classes, places, dict(found.left_out.most_common()))


def _below_archives(found: Gathered, paths: Sequence[str]) -> list[str]:
    """Return the images' names; in archives of one class each, below the name of their archive."""
    classes = [Path(path).stem for path in paths]
    if not all(_WNID.fullmatch(name) for name in classes) or any("/" in n for n in found.names):
        return found.names
    return [f"{classes[file]}/{name}" for file, name in zip(found.file, found.names, strict=True)]


def _of_split(names: list[str], split: str, root: Path) -> tuple[list[int], list[str]]:
    """Return the images of a split, and their names below its folder, or below the one that holds all."""
    rows = list(range(len(names)))
    while True:
        tops = {name.partition("/")[0] if "/" in name else "" for name in names}
        nested = all(name.count("/") >= 2 for name in names)
        if len(tops) == 1 and nested:
            names = [name.partition("/")[2] for name in names]
            continue
        shallow = {name.partition("/")[0] for name in names if name.count("/") < 2}
        of_it = sorted(top for top in tops - shallow if split_of(top) == split)
        if not of_it:
            if len(tops) > 1 and shallow != tops and all(map(split_of, tops)):
                raise NoSplitError(
                    f"{root} holds the splits {', '.join(sorted(tops))}, and none named {split} with "
                    "class folders in it; pack the split to take alone"
                )
            return rows, names
        chosen, others = of_it[0], [top for top in tops if split_of(top) is None]
        if len(of_it) > 1:
            raise ImagesError(
                f"{root} holds {' and '.join(of_it)}, and each may be the split {split}; pack one alone"
            )
        if others:
            raise ImagesError(
                f"{root} can be read in two ways: {chosen} in it is a split, or a class like "
                f"{min(others) or 'the images beside it'}; pack the split, or the classes, alone"
            )
        prefix = f"{chosen}/"
        rows = [row for row, name in zip(rows, names, strict=True) if name.startswith(prefix)]
        names = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]


def _class_of(key: str, listed: Mapping[str, str], root: Path) -> str:
    """Return the class of an image: its folder, or what a list says of it."""
    folder, slash, _ = key.partition("/")
    name = os.path.basename(key)
    if name in listed:
        return listed[name]
    if slash:
        return folder
    raise ImagesError(
        f"{root}: {key} lies in no class folder and has no {os.path.splitext(key)[0]}.cls beside it; "
        "add classes, or take images without them with --unlabelled"
    )


def _class_names(root: Path) -> list[str]:
    """Return the names of numbered classes, from a file beside the archives; none where there is none."""
    folder = root if root.is_dir() else root.parent
    for name in CLASS_FILES:
        try:
            refuse_utf16(folder / name, str(folder / name), ImagesError)
            text = (folder / name).read_text("utf-8-sig").rstrip()
        except (OSError, UnicodeDecodeError):
            continue
        names = [line.strip() for line in text.split("\n")] if text else []
        if "" in names:
            raise ImagesError(
                f"{folder / name}, line {names.index('') + 1}: it names no class, and the lines are "
                "counted; give each class a name"
            )
        return names
    return []


def _refuse_twins(keys: Sequence[str], paths: Sequence[str]) -> None:
    """Refuse two images of one name: a store could not tell them apart."""
    first: dict[str, str] = {}
    for key, path in zip(keys, paths, strict=True):
        other = first.get(key)
        if other is not None:
            where = f"{path} twice" if other == path else f"{other} and {path}"
            raise ImagesError(
                f"two images are named {key}, in {where}; names must be unique over all archives of a "
                "data set"
            )
        first[key] = path
